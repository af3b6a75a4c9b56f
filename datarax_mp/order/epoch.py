"""One epoch, as those see it who hand out its steps, deliver its batches or speak of them.

They need to know how many steps there are, how many rows each has and, once in a while, which records those are; how
records are chosen is the order's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.steps import Order


@dataclass(frozen=True, slots=True)
class Epoch:
    """The steps of one epoch, for one shard.

    Attributes:
        order: which records make a step.
        number: the epoch's number, from 0.

    >>> from datarax_mp.order.sequential import Sequential
    >>> epoch = Epoch(Order(Sequential(10), batch_size=4), 0)
    >>> epoch.steps, [epoch.rows(step) for step in range(epoch.steps)], epoch.records(2).tolist()
    (3, [4, 4, 2], [8, 9])
    """

    order: Order
    number: int

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return self.order.steps(self.number)

    @property
    def batch_size(self) -> int:
        """The most rows that a step has."""
        return self.order.batch_size

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return self.order.shard_count

    @property
    def shard_id(self) -> int:
        """Which part of the source these records are, over the source's own shards and the pipeline's."""
        return self.order.offset * self.order.shard_count + self.order.shard_index

    @property
    def even(self) -> bool:
        """Whether all steps but the last have ``batch_size`` rows."""
        return self.order.even

    def width(self, step: int) -> int:
        """The rows of a step, were it a whole one."""
        return self.order.width(step)

    def rows(self, step: int) -> int:
        """The rows of a step; 0 where there is nothing left for this shard."""
        return self.order.rows(self.number, step)

    def records(self, step: int) -> NDArray[np.int64]:
        """The record numbers of a step, int64 ``(rows,)``."""
        return self.order.records(self.number, step)

    def origins(self, step: int) -> NDArray[np.int64]:
        """The same, and of items the numbers of the records that they are of."""
        return self.order.origins(self.records(step))

    def global_step(self, step: int) -> int:
        """The number of a step in the whole run."""
        return self.order.global_step(self.number, step)

    def place(self, step: int) -> int:
        """How many records of the epoch all shards together have used up before a step."""
        return self.order.place(self.number, step)
