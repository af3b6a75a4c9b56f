"""Shuffling within windows: for sources that dislike far jumps.

    records    | 4 5 6 | 7 8 9 | 0 1 2 | 3         windows of consecutive records, cut anew in every epoch
    epoch      | 2 0 1 | 6 4 5 | 8 9 7 | 3         their order is permuted, and so are the records of each

A buffer of that size would do something similar, and have to be filled before the first record and after every restart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datarax_mp.core.distinct import distinct
from datarax_mp.core.integers import integer
from datarax_mp.order.ahead import ahead
from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import key_of, mix64, part_seed
from datarax_mp.order.newest import Newest
from datarax_mp.order.permutation import MOST_SORTED, permute, sort_each


@dataclass(frozen=True, slots=True)
class ShuffleWindow:
    """``Pipeline(shuffle=ShuffleWindow(records=n))``: records are shuffled within windows of n consecutive ones.

    An epoch has every record once. The source is cut into windows of n records, from another record on in every epoch
    (one window may hold the source's end and its begin); the windows come in a random order, the shorter one that is
    left over last, and the records of each in a random order. So of any n records that are read one after the other,
    those of at most two windows, all are near to others, and every epoch groups them anew.

    Attributes:
        records: how many records a window has.

    Raises:
        TypeError: ``records`` is no int.
        ValueError: it is below 1.
    """

    records: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", integer("records", self.records, least=1))

    def over(self, length: int) -> Choice:
        """The choice among so many records."""
        return Windows(length, self.records)


@dataclass(frozen=True, slots=True)
class Windows:
    """Every record once, shuffled within windows.

    Attributes:
        length: how many records there are.
        records: how many of them a window has.
    """

    length: int
    records: int
    _newest: Newest[Numbers] = field(default_factory=lambda: Newest(2), repr=False, compare=False)

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return True

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return ahead(self._newest, seed, epoch, positions, self.length, self._records)

    def _records(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        size = min(self.records, self.length)
        whole = self.length // size
        turns, places = np.divmod(positions, size)
        window = turns.copy()
        full = np.flatnonzero(turns < whole)  # the window that is left over comes last
        window[full] = permute(turns[full], whole, seed=part_seed(seed, -1), epoch=epoch)
        places = self._within(seed, epoch, window, places, size, whole)
        places += window * size
        places += mix64(key_of(seed, epoch)) % self.length
        places -= np.where(places >= self.length, self.length, 0)
        return places

    def _within(self, seed: int, epoch: int, window: Numbers, places: Numbers, size: int, whole: int) -> Numbers:
        """The place in its window of each record."""
        found = places.copy()
        there = distinct(window)
        if size <= MOST_SORTED:
            rows = np.flatnonzero(window < whole)
            of_window = sort_each(there, size, np.uint64(mix64(key_of(seed, epoch))))
            found[rows] = of_window[np.searchsorted(there, window[rows]), places[rows]]
            there = there[there >= whole]
        for number in there.tolist():
            rows = np.flatnonzero(window == number)
            of = size if number < whole else self.length - whole * size
            found[rows] = permute(places[rows], of, seed=part_seed(seed, number), epoch=epoch)
        return found

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return positions

    def narrowed(self, numbers: Numbers) -> Windows:
        """See ``Choice``: windows have as many records as before, of those that are left."""
        return Windows(len(numbers), self.records)

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        return {"length": self.length, "shuffle": True, "choice": f"ShuffleWindow(records={self.records})"}
