"""Every record once, block by block: for sources that are read in blocks.

    blocks     | 0 | 1 | 2 | 3 | 4 | 5 |         as the source has them, of any sizes
    dealt      | 3   0   5 | 4   2   1 |         permuted for each (seed, epoch), and dealt to hosts, here two
    windows    | 3   0 | 5 | 4   2 | 1 |         of so many blocks, here two; the records of each are permuted

So whatever comes at some time is in few blocks, each is wanted for a while and then never again, and its records lie
among those of others. Two permutations and a running sum: whoever asks works it out alike, at any position.

With one host, position p of an epoch is record p of that line. With several, which read different blocks, each has an
equal part of the line (a block at the border is read by both), and every step takes equally many rows from all parts.
How many hosts there are is a part of the stream, and not how many processes serve them.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.core.distinct import distinct
from datarax_mp.order.ahead import ahead
from datarax_mp.order.choice import Numbers
from datarax_mp.order.hashing import part_seed
from datarax_mp.order.newest import Newest
from datarax_mp.order.permutation import permute

BLOCKS = 16
"""Blocks in a window, unless the user says otherwise."""


class Line(NamedTuple):
    """The records of one epoch, as they lie one behind the other before those of each window are permuted.

    Attributes:
        blocks: int64, the numbers of the blocks that have records, in the epoch's order.
        ends: int64, for each of them how many records lie up to its end.
        windows: int64, where each window begins, and the end.
        parts: int64 ``(hosts + 1,)``, where the part of each host begins, and the end.
    """

    blocks: Numbers
    ends: Numbers
    windows: Numbers
    parts: Numbers

    def blocks_of(self, begin: int, end: int) -> Numbers:
        """The blocks that some of these records are of."""
        first, last = np.searchsorted(self.ends, [begin, end - 1], "right")
        return self.blocks[first : last + 1]


@dataclass(frozen=True, slots=True)
class Blockwise:
    """See the module.

    Attributes:
        ends: int64 ``(blocks,)``, of each block the number of the record behind its last one.
        blocks: how many blocks a window has; 0 is in the source's own order, without windows.
        hosts: how many hosts read different blocks.
        rows: with several hosts, how many rows of a step each of them has.
    """

    ends: Numbers = field(compare=False, repr=False)
    blocks: int = BLOCKS
    hosts: int = 1
    rows: int = 1
    _newest: Newest[Numbers] = field(default_factory=lambda: Newest(2), repr=False, compare=False)
    _lines: Newest[Line] = field(default_factory=lambda: Newest(2), repr=False, compare=False)

    @property
    def length(self) -> int:
        """See ``Choice``."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return self.blocks > 0

    def line(self, seed: int, epoch: int) -> Line:
        """The records of an epoch, one behind the other."""
        return self._lines.get((seed, epoch) if self.shuffled else (), lambda: self._line(seed, epoch))

    def _line(self, seed: int, epoch: int) -> Line:
        sizes = np.diff(self.ends, prepend=0)
        blocks = np.flatnonzero(sizes)
        if self.shuffled and len(blocks):
            blocks = blocks[permute(np.arange(len(blocks)), len(blocks), seed=part_seed(seed, -1), epoch=epoch)]
        ends = np.cumsum(sizes[blocks])
        parts = self._parts()
        windows = [_windows(ends, *part, self.blocks or 1) for part in itertools.pairwise(parts.tolist())]
        return Line(blocks, ends, np.concatenate([*windows, parts[-1:]]), parts)

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        if not self.shuffled:
            return positions
        return ahead(self._newest, seed, epoch, positions, self.length, self._records)

    def _records(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        line = self.line(seed, epoch)
        places = positions if self.hosts == 1 else self.places(positions)
        window = np.searchsorted(line.windows, places, "right") - 1
        begins = line.windows[window]
        places = places - begins
        for number in distinct(window).tolist():
            rows = np.flatnonzero(window == number)
            size = int(line.windows[number + 1] - line.windows[number])
            places[rows] = permute(places[rows], size, seed=part_seed(seed, number), epoch=epoch)
        places += begins
        at = np.searchsorted(line.ends, places, "right")
        return self.ends[line.blocks[at]] - line.ends[at] + places

    def places(self, positions: Numbers) -> Numbers:
        """Where in the line the records lie that come at some positions, before windows are permuted."""
        parts = self._parts()
        steps, rows = np.divmod(positions, self.hosts * self.rows)
        hosts, row = np.divmod(rows, self.rows)
        full = self.length // self.hosts // self.rows  # so many steps have their rows from all hosts
        within = steps * self.rows + row
        if len(last := np.flatnonzero(steps >= full)):  # what is left of all parts, one behind the other
            left = np.cumsum(np.diff(parts) - full * self.rows)
            rest = positions[last] - full * self.rows * self.hosts
            hosts[last] = np.searchsorted(left, rest, "right")
            within[last] = rest - np.where(hosts[last], left[hosts[last] - 1], 0) + full * self.rows
        return parts[hosts] + within

    def _parts(self) -> Numbers:
        """See ``Line``; where parts cannot be equal, the first ones have a record more."""
        share, more = divmod(self.length, self.hosts)
        hosts = np.arange(self.hosts + 1)
        return hosts * share + np.minimum(hosts, more)

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return positions

    def narrowed(self, numbers: Numbers) -> Blockwise:
        """See ``Choice``: of each block those records that are left."""
        return Blockwise(np.searchsorted(numbers, self.ends), self.blocks, self.hosts, self.rows)

    def dealt(self, hosts: int, rows: int) -> Blockwise:
        """The same, dealt out to so many hosts, each of which has so many rows of a step."""
        return Blockwise(self.ends, self.blocks, hosts, rows)

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        if not self.shuffled:
            return {"length": self.length, "shuffle": False}
        facts = {
            "length": self.length,
            "shuffle": True,
            "choice": f"ShuffleWindow(blocks={self.blocks})",
            "blocks": zlib.crc32(self.ends.astype("<i8").tobytes()),  # where each one ends
        }
        return facts if self.hosts == 1 else {**facts, "hosts": [self.hosts, self.rows]}


def _windows(ends: Numbers, begin: int, end: int, blocks: int) -> Numbers:
    """Where windows begin in a part of the line."""
    if begin == end:
        return np.empty(0, np.int64)
    first, last = np.searchsorted(ends, [begin, end - 1], "right")
    return np.concatenate([[begin], ends[first + blocks - 1 : last : blocks]])
