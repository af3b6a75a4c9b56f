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
    """``Pipeline(shuffle=ShuffleWindow(...))``: how far records move. An epoch has every record once.

    ``ShuffleWindow(records=n)`` shuffles within windows of n consecutive records. The source is cut into windows from
    another record on in every epoch (one window may hold the source's end and its begin); the windows come in a random
    order, the shorter one that is left over last, and the records of each in a random order. So of any n records that
    are read one after the other, those of at most two windows, all are near to others, and every epoch groups them
    anew.

    ``ShuffleWindow(blocks=n)`` is for sources that are read in blocks (``BlockSource``): blocks come in a random order,
    and the records of every n of them in a random order. Each block is read once. With several hosts each reads blocks
    of its own, and a step has rows of all of them.

    Attributes:
        records: how many records a window has, or None.
        blocks: how many blocks a window has, or None; more mix better, and take more memory: up to two windows' blocks
            are there at a time.
        hosts: with ``blocks``, among how many hosts they are dealt out; a part of the stream, which may go on with any
            number of hosts: what divides this one reads every block on one host. None is as many as there are shards
            when the stream begins.

    Raises:
        TypeError: a number is no int; or ``records`` and ``blocks`` are both given, or none of them.
        ValueError: one is below 1.
    """

    records: int | None = None
    blocks: int | None = None
    hosts: int | None = None

    def __post_init__(self) -> None:
        if (self.records is None) == (self.blocks is None):
            raise TypeError("ShuffleWindow takes records=n, or blocks=n for a source that is read in blocks")
        if self.hosts is not None and self.blocks is None:
            raise TypeError("hosts= goes with blocks=n: records are dealt to hosts row by row")
        for name in ("records", "blocks", "hosts"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, integer(name, value, least=1))

    def __repr__(self) -> str:
        given = {name: getattr(self, name) for name in ("records", "blocks", "hosts")}
        return f"ShuffleWindow({', '.join(f'{name}={value}' for name, value in given.items() if value is not None)})"

    def over(self, length: int) -> Choice:
        """The choice among so many records, where a window is said in records."""
        assert self.records is not None
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
