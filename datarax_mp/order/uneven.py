"""Steps that differ in their numbers of rows.

    step            0     1   2      3 ...
    rows per shard  8     2   4      8            fixed by a table, the same in every epoch
    place           0     8   10     14           counted over all shards, as in an order of equal steps

Everything else is an ``Order``'s: which record stands at a place is its choice's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from datarax_mp.order.choice import Among, Choice, Numbers
from datarax_mp.order.lanes import LaneOrder, Lanes
from datarax_mp.order.steps import Order
from datarax_mp.order.token_budget import Budgeted, StepTable


@dataclass(frozen=True, slots=True)
class UnevenOrder(Order):
    """An order whose steps have as many rows as a table says; ``batch_size`` is the most.

    Attributes:
        table: how many rows each step has.

    >>> from datarax_mp.order.sequential import Sequential
    >>> table = StepTable(np.array([0, 3, 4]), np.array([3, 2], np.int32))
    >>> order = UnevenOrder(Sequential(4), batch_size=3, table=table)
    >>> [order.records(0, step).tolist() for step in range(len(order))]
    [[0, 1, 2], [3]]
    """

    table: StepTable = field(kw_only=True, compare=False, repr=False)

    @classmethod
    def by(cls, choice: Budgeted, **more: Any) -> UnevenOrder:
        """The order of batches of a number of tokens; ``more`` is what an ``Order`` is made of beside its choice."""
        return cls(choice, int(choice.rows.max()), table=choice.table, **more)

    def among(self, numbers: Numbers) -> UnevenOrder:
        """See ``Order``."""
        among = Among.those(self.choice, numbers)
        assert isinstance(among.choice, Budgeted)
        return replace(self, choice=among, table=among.choice.table)

    @property
    def even(self) -> bool:
        """See ``Order``."""
        return False

    @property
    def ragged(self) -> bool:
        """See ``Order``."""
        return bool((np.diff(self.table.begins) != self.table.rows * self.shard_count).any())

    def __len__(self) -> int:
        """Steps in an epoch, the same for every shard."""
        return len(self.table.rows)

    def steps(self, epoch: int) -> int:
        """See ``Order``."""
        return len(self)

    def global_step(self, epoch: int, step: int) -> int:
        """See ``Order``."""
        return epoch * len(self) + step

    def place(self, epoch: int, step: int) -> int:
        """See ``Order``."""
        return int(self.table.begins[step])

    def width(self, step: int) -> int:
        """See ``Order``."""
        return int(self.table.rows[step])

    def widths(self) -> list[int]:
        """See ``Order``."""
        return np.unique(self.table.rows).tolist()

    def first_row(self, epoch: int, step: int) -> int:
        """See ``Order``."""
        return self.offset + (self.place(epoch, step) + self.shard_index * self.width(step)) * self.stride

    def rows(self, epoch: int, step: int) -> int:
        """See ``Order``."""
        begin, end = self.table.begins[step : step + 2].tolist()
        width = self.width(step)
        return max(0, min(width, end - begin - self.shard_index * width))

    def row_counts(self) -> list[int]:
        """See ``Order``."""
        return sorted({self.rows(0, step) for step in range(len(self))})

    def by_step(self, epoch: int, step: int, steps: int) -> list[Numbers]:
        """See ``Order``."""
        numbers = self.records(epoch, step, steps)
        ends = np.cumsum([self.rows(epoch, step + done) for done in range(steps)])
        return np.split(numbers, ends[:-1])

    def records(self, epoch: int, step: int, steps: int = 1) -> Numbers:
        """See ``Order``."""
        places = [
            self.place(epoch, one) + self.shard_index * self.width(one) + np.arange(self.rows(epoch, one))
            for one in range(step, step + steps)
        ]
        return self.at(epoch, np.concatenate(places))


def order_of(choice: Choice, batch_size: int, **more: Any) -> Order:
    """The order by a choice; ``more`` is what it is made of beside."""
    if isinstance(choice, Budgeted):
        return UnevenOrder.by(choice, **more)
    if isinstance(choice, Lanes):
        return LaneOrder(choice, batch_size, **more)
    return Order(choice, batch_size, **more)
