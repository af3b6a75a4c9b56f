"""From (epoch, step) to record numbers.

place in the epoch  0 1 2 3 | 4 5 6 7 | 8 9           counted over all shards; "|" parts the steps
shard 0 of 2        0 1     | 4 5     | 8 9           batch_size 2: each shard has its own rows of a global batch of 4
shard 1 of 2            2 3 |     6 7 |                the last step has as many rows as are left, maybe none

    place  --(offset + place * stride)-->  position  --Choice-->  record

The steps before step s have used up exactly the places before ``s * global_batch``, whatever the number of shards. So a
place is a position in the epoch that one can go on from with other shards and another batch size: the epoch then has a
``start``, and its steps count from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from datarax_mp.order.choice import Among, Choice, Numbers
from datarax_mp.order.expansion import Expansion


@dataclass(frozen=True, slots=True)
class Order:
    """The order of one shard of a source: an arithmetic description, never a list.

    Attributes:
        choice: which record stands at each position of an epoch.
        batch_size: records in a batch of one shard.
        seed: what all that is random is made of.
        drop_last: whether a last step that is not full, over all shards, is left out.
        shard_index: which rows of each global batch are this shard's, from 0.
        shard_count: how many shards make a global batch.
        offset: the epoch's first position, where the source serves only a part of its records.
        stride: from each of its positions to the next.
        start: the place where epoch ``start_epoch`` begins; all others begin at 0.
        start_epoch: the epoch that was entered in the middle.
        expansion: which items records have, where it is items that are chosen; else None.

    >>> from datarax_mp.order.sequential import Sequential
    >>> order = Order(Sequential(10), batch_size=4)
    >>> order.steps(epoch=0), [order.rows(epoch=0, step=step) for step in range(3)]
    (3, [4, 4, 2])
    >>> order.records(epoch=0, step=1).tolist()
    [4, 5, 6, 7]
    """

    choice: Choice
    batch_size: int
    seed: int = 0
    drop_last: bool = False
    shard_index: int = 0
    shard_count: int = 1
    offset: int = 0
    stride: int = 1
    start: int = 0
    start_epoch: int = 0
    expansion: Expansion | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.length < 0 or self.batch_size < 1:
            raise ValueError(f"an order needs length >= 0 and batch_size >= 1; got {self.length=}, {self.batch_size=}")
        if not 0 <= self.shard_index < self.shard_count:
            raise ValueError(f"shard_index must be in [0, {self.shard_count}), got {self.shard_index}")
        if not 0 <= self.offset < self.stride:
            raise ValueError(f"offset must be in [0, {self.stride}), got {self.offset}")
        if not 0 <= self.start <= self.places:
            raise ValueError(f"start must be in [0, {self.places}], got {self.start}")

    def among(self, numbers: Numbers) -> Order:
        """The order of those records alone that filters have kept, from the begin of each epoch on."""
        return replace(self, choice=Among.those(self.choice, numbers), start=0, start_epoch=0)

    def of_items(self, choice: Choice, expansion: Expansion) -> Order:
        """The order of items by a choice among them, from the begin of each epoch on."""
        return replace(self, choice=choice, expansion=expansion, start=0, start_epoch=0)

    @property
    def length(self) -> int:
        """The positions of an epoch, those that other parts of the source serve among them."""
        return self.choice.length

    @property
    def places(self) -> int:
        """Records of an epoch, over all shards."""
        return len(range(self.offset, self.length, self.stride))

    @property
    def global_batch(self) -> int:
        """Records of a step, over all shards."""
        return self.batch_size * self.shard_count

    @property
    def even(self) -> bool:
        """Whether all whole steps have equally many rows."""
        return True

    def width(self, step: int) -> int:
        """The rows of a step, were it a whole one."""
        return self.batch_size

    def widths(self) -> list[int]:
        """The rows that whole steps have."""
        return [self.batch_size]

    def row_counts(self) -> list[int]:
        """The rows that steps have, in whole epochs and in one that was entered in the middle."""
        epochs = [epoch for epoch in (self.start_epoch, self.start_epoch + 1) if self.steps(epoch)]
        steps = [(epoch, step) for epoch in epochs for step in (0, self.steps(epoch) - 1)]
        return [self.rows(epoch, step) for epoch, step in steps] or [self.batch_size]

    @property
    def ragged(self) -> bool:
        """Whether some epoch ends with a step that is not full."""
        return bool(not self.drop_last and (self.places % self.global_batch or self.start % self.global_batch))

    def first(self, epoch: int) -> int:
        """The place where an epoch begins."""
        return self.start if epoch == self.start_epoch else 0

    def __len__(self) -> int:
        """Steps in a whole epoch, the same for every shard."""
        return self._steps(self.places)

    def steps(self, epoch: int) -> int:
        """Steps in an epoch, the same for every shard."""
        return self._steps(self.places - self.first(epoch))

    def _steps(self, places: int) -> int:
        full, rest = divmod(places, self.global_batch)
        return full + bool(rest and not self.drop_last)

    def global_step(self, epoch: int, step: int) -> int:
        """The number of a step in the whole run; in an epoch that was entered in the middle, of steps of this size."""
        return epoch * len(self) + self.first(epoch) // self.global_batch + step

    def place(self, epoch: int, step: int) -> int:
        """How many records of the epoch all shards together have used up before a step."""
        return min(self.first(epoch) + step * self.global_batch, self.places)

    def first_row(self, epoch: int, step: int) -> int:
        """The position of this shard's first record in a step: no other step of the epoch has it, on any shard."""
        place = self.first(epoch) + step * self.global_batch + self.shard_index * self.batch_size
        return self.offset + place * self.stride

    def rows(self, epoch: int, step: int) -> int:
        """This shard's records in a step: ``batch_size``, or fewer in the last, even 0 if there are several shards."""
        left = self.places - self.first(epoch) - step * self.global_batch - self.shard_index * self.batch_size
        return max(0, min(self.batch_size, left))

    def records(self, epoch: int, step: int, steps: int = 1) -> Numbers:
        """Record numbers of ``steps`` consecutive steps, as int64 ``(rows,)``, one step after the other."""
        begin = self.first(epoch) + step * self.global_batch
        if self.shard_count == 1:
            places = np.arange(begin, min(begin + steps * self.batch_size, self.places))
        else:
            firsts = np.arange(steps) * self.global_batch + (begin + self.shard_index * self.batch_size)
            places = (firsts[:, None] + np.arange(self.batch_size)).ravel()
            places = places[places < self.places]
        return self.at(epoch, places)

    def origins(self, numbers: Numbers) -> Numbers:
        """The records' own numbers, where what is chosen are items."""
        return numbers if self.expansion is None else self.expansion.records(numbers)

    def named(self, numbers: Numbers) -> list[int]:
        """Numbers that say in messages what they stand for."""
        return numbers.tolist() if self.expansion is None else self.expansion.named(numbers)

    def by_step(self, epoch: int, step: int, steps: int) -> list[Numbers]:
        """The records of each of several consecutive steps."""
        numbers = self.records(epoch, step, steps)
        return [numbers[done * self.batch_size : (done + 1) * self.batch_size] for done in range(steps)]

    def at(self, epoch: int, places: Numbers) -> Numbers:
        """The records at places of an epoch, both int64 ``(n,)``."""
        return self.choice.at(self.seed, epoch, self._positions(places))

    def examples(self, most: int) -> list[int]:
        """The first of those records from which it is learnt what records are like; the same for all shards."""
        return self.choice.examples(self._positions(np.arange(min(most, self.places)))).tolist()

    def _positions(self, places: Numbers) -> Numbers:
        return places if self.stride == 1 else self.offset + places * self.stride
