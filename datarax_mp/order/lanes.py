"""Lanes: the order of records that come out of iterators, which have neither length nor numbers.

    lane 0    step 0     step 3     step 6          step s is lane s mod lanes's next batch
    lane 1    step 1     step 4     ended           a lane that has ended has no further steps: there is no step 7
    lane 2    step 2     step 5     step 8

How many steps there are, and which records they have, nobody knows beforehand. Everybody who needs it is *told*: a step
comes with its records' numbers and with where each lane stands after it, and that is what goes on from there takes
along. A record's number is its place in its lane, times the number of lanes, plus the lane.

Within a lane, records may be shuffled in windows. Each window is permuted by (seed, epoch, lane, window), so that where
a lane stands is where its iterator was when the window began, and a place in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.expansion import ItemNumber
from datarax_mp.order.hashing import GOLDEN, Words, key_of, mix64, mix64_each
from datarax_mp.order.steps import Order

_OPEN = 1 << 60  # records, of a stream that may have any number of them


class LaneCursor(NamedTuple):
    """Where a lane stands.

    Attributes:
        records: how many records had been taken out of its iterator when the window began.
        place: how many of the window's records are used up, in their permuted order.
        item: how many of the next one's items are, where ``FlatMap`` makes several of it.
        state: what the iterator said of itself when the window began: JSON, or a pickle where it is no plain value;
            None where it says nothing, so that ``records`` have to be passed over.
        ended: whether nothing comes any more.
    """

    records: int = 0
    place: int = 0
    item: int = 0
    state: str | bytes | None = None
    ended: bool = False


BEGIN = LaneCursor()


class Told(NamedTuple):
    """What is known of one step.

    Attributes:
        epoch: the epoch.
        cursors: where each lane stands after it.
        numbers: int64, its records' numbers.
    """

    epoch: int
    cursors: tuple[LaneCursor, ...]
    numbers: Numbers


class LaneNumber(ItemNumber):
    """A record's number that says of which lane it is, also in messages.

    Attributes:
        lanes: what it was chosen from.

    >>> f"record {LaneNumber(35, Lanes(8))}", f"record {LaneNumber(35, Lanes(8, items=2))}"
    ('record 4 of lane 3', 'record 2 of lane 3')
    """

    lanes: Lanes

    def __new__(cls, number: int, lanes: Lanes) -> LaneNumber:
        """The number, with what it stands for."""
        made = int.__new__(cls, number)
        made.lanes = lanes
        return made

    @property
    def record(self) -> int:  # type: ignore[override]
        """The record's number."""
        lanes, items = self.lanes.lanes, self.lanes.items
        return int(self) // (lanes * items) * lanes + int(self) % lanes

    @property
    def place(self) -> int:  # type: ignore[override]
        """Which of its items."""
        return int(self) // self.lanes.lanes % self.lanes.items

    def __repr__(self) -> str:
        index, lane = divmod(self.record, self.lanes.lanes)
        item = f", item {self.place} of it" if self.place else ""
        return f"{index} of lane {lane}{item}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Lanes:
    """Whatever comes out of so many iterators.

    Attributes:
        lanes: how many there are.
        window: within how many records of a lane they are shuffled; 1 is not at all.
        items: into how many one may be made at most.
    """

    lanes: int
    window: int = 1
    items: int = 1

    @property
    def length(self) -> int:
        """See ``Choice``: more than ever come."""
        return _OPEN

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return self.window > 1

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``; nobody knows.

        Raises:
            TypeError: always.
        """
        raise TypeError("which records iterators give is not known before they give them")

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``: the first ones, whatever they are."""
        return positions

    def narrowed(self, numbers: Numbers) -> Choice:
        """See ``Choice``; nobody knows.

        Raises:
            ValueError: always.
        """
        raise ValueError("records out of iterators cannot be told apart beforehand")

    def facts(self) -> dict[str, Any]:
        """See ``Choice``; the length is not known."""
        return {"length": 0, "shuffle": self.shuffled, "choice": f"{self.lanes} lanes in windows of {self.window}"}

    def window_order(self, seed: int, epoch: int, lane: int, window: int, records: int) -> Numbers:
        """In which order the records of a window come, int64 ``(records,)``.

        >>> Lanes(1, window=4).window_order(0, 0, 0, 0, 4).tolist()
        [3, 0, 2, 1]
        """
        if self.window == 1:
            return np.arange(records)
        key = mix64(mix64(key_of(seed, epoch) ^ (lane + 1) * GOLDEN) + window)
        words: Words = np.arange(records, dtype=np.uint64) * np.uint64(GOLDEN) ^ np.uint64(key)
        return np.argsort(mix64_each(words), kind="stable")


@dataclass(frozen=True, slots=True)
class LaneOrder(Order):
    """The order of steps that come out of lanes.

    Attributes:
        told: what is known of one step; None at the begin.
    """

    told: Told | None = field(default=None, kw_only=True, compare=False, repr=False)

    @property
    def lines(self) -> Lanes:
        """What is chosen from."""
        assert isinstance(self.choice, Lanes)
        return self.choice

    def cursors(self, epoch: int) -> tuple[LaneCursor, ...]:
        """Where each lane stands in an epoch, as far as it was told."""
        if self.told is not None and self.told.epoch == epoch:
            return self.told.cursors
        return (BEGIN,) * self.lines.lanes

    def tell(self, epoch: int, cursors: tuple[LaneCursor, ...], numbers: Numbers) -> LaneOrder:
        """The same order after a step of which this is known."""
        return replace(self, told=Told(epoch, cursors, numbers))

    def number(self, lane: int, index: int, item: int) -> int:
        """The number of an item of a lane's record."""
        return (index * self.lines.items + item) * self.lines.lanes + lane

    @property
    def even(self) -> bool:
        """See ``Order``: each lane has a batch of what is left of it."""
        return False

    @property
    def ragged(self) -> bool:
        """See ``Order``."""
        return not self.drop_last

    def row_counts(self) -> list[int]:
        """See ``Order``; what is left of a lane may be any number."""
        return [self.batch_size] if self.drop_last else [1, self.batch_size]

    def width(self, step: int) -> int:
        """See ``Order``; a lane that has just ended has a step without a row, which nobody gets."""
        return self.batch_size if self.told is None or len(self.told.numbers) else 0

    def rows(self, epoch: int, step: int) -> int:
        """See ``Order``; of the step that was told of."""
        return self.batch_size if self.told is None else len(self.told.numbers)

    def records(self, epoch: int, step: int, steps: int = 1) -> Numbers:
        """See ``Order``; of the step that was told of."""
        return np.empty(0, np.int64) if self.told is None else self.told.numbers

    def origins(self, numbers: Numbers) -> Numbers:
        """See ``Order``."""
        lanes, items = self.lines.lanes, self.lines.items
        return numbers if items == 1 else numbers // (lanes * items) * lanes + numbers % lanes

    def named(self, numbers: Numbers) -> list[int]:
        """See ``Order``."""
        lines = self.lines
        return [LaneNumber(number, lines) for number in numbers.tolist()]

    def global_step(self, epoch: int, step: int) -> int:
        """See ``Order``; how many steps the epochs before had, nobody knows, so it is the epoch's own."""
        return step
