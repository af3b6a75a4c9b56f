"""Samples of a tar archive as they lie on the shelf: the bytes of the archive, and where in them each field lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datarax_mp.formats.tar_index import Samples
from datarax_mp.sources.records import Records


class Part(NamedTuple):
    """A member of a sample.

    Attributes:
        suffix: its field's.
        data: uint8, its bytes.
        at: where in the archive they begin.
    """

    suffix: str
    data: NDArray[np.uint8]
    at: int


class Sample(NamedTuple):
    """A sample that is not decoded yet.

    Attributes:
        path: the archive.
        key: its key.
        parts: its members, in their order.
    """

    path: str
    key: str
    parts: list[Part]


@dataclass(frozen=True, eq=False)
class TarRecords(Records):
    """See the module.

    Attributes:
        path: the archive.
        begin: where in it ``data`` begin.
        data: uint8, a piece of it.
        samples: those that lie in that piece, with their offsets there.
    """

    path: str
    begin: int
    data: NDArray[np.uint8]
    samples: Samples

    @property
    def nbytes(self) -> int:
        """See ``Records``."""
        return int(self.data.nbytes + sum(array.nbytes for array in self.samples.arrays.values()))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> Sample:
        samples = self.samples
        first, end = samples.firsts[place : place + 2].tolist()
        parts = []
        for member in range(first, end):
            at, size = int(samples.begins[member]), int(samples.sizes[member])
            parts.append(Part(str(samples.suffixes[samples.codes[member]]), self.data[at : at + size], self.begin + at))
        return Sample(self.path, samples.key(place), parts)
