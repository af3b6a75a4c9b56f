"""Records: what there is to load. NumPy only, because worker processes import this.

Every record has a field ``label`` that holds its number, so that a batch says which records it is made of.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SEED = 1
Record = dict[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Columns:
    """Arrays in memory whose rows are the records' values; ``label`` is one of them."""

    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, number: int) -> Record:
        return {name: column[number] for name, column in self.columns.items()}

    def batch(self, numbers: NDArray[np.integer]) -> Arrays:
        """The rows of these numbers, in one call for each column."""
        return {name: column[numbers] for name, column in self.columns.items()}


@dataclass
class Tokens:
    """Windows out of one long memory-mapped array of uint16 tokens, as int32; each overlaps the next by one token."""

    path: str
    windows: int
    length: int
    _view: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.windows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_view": None}  # or the whole file would be sent

    @property
    def view(self) -> np.ndarray:
        """All windows, (windows, length + 1), opened when first asked for."""
        if self._view is None:
            tokens = np.asarray(np.memmap(self.path, np.uint16, "r"))
            self._view = sliding_window_view(tokens, self.length + 1)[:: self.length][: self.windows]
        return self._view

    def __getitem__(self, number: int) -> Record:
        return {"tokens": self.view[number].astype(np.int32), "label": np.int32(number)}

    def __getitems__(self, numbers: Sequence[int]) -> Arrays:
        return self.batch(np.array(numbers))

    def batch(self, numbers: NDArray[np.integer]) -> Arrays:
        """The windows of these numbers, in one call."""
        return {"tokens": self.view[numbers].astype(np.int32), "label": numbers.astype(np.int32)}

    @staticmethod
    def write(path: Path, windows: int, length: int) -> None:
        """Make the file, unless it is there."""
        if not path.exists():
            rng = np.random.default_rng(SEED)
            rng.integers(0, 50_000, windows * length + 1, np.uint16).tofile(path)


@dataclass(frozen=True)
class Ragged:
    """Lists of int32 tokens of unequal length, in one array with offsets."""

    tokens: np.ndarray
    offsets: np.ndarray

    @classmethod
    def make(cls, records: int, most: int) -> Ragged:
        """So many records of 1 to ``most`` tokens, some 150 in the median."""
        rng = np.random.default_rng(SEED)
        lengths = np.clip(rng.lognormal(5.0, 0.6, records), 1, most).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return cls(rng.integers(1, 50_000, offsets[-1], np.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Record:
        tokens = self.tokens[self.offsets[number] : self.offsets[number + 1]]
        return {"tokens": tokens, "label": np.int32(number)}


class Photos:
    """Photographs of a folder, decoded as ``datarax_mp`` does it; the list of files begins anew at its end."""

    def __init__(self, folder: Path, records: int) -> None:
        from datarax_mp import ImageFolderSource  # delayed: the other workloads need no decoder

        files = sorted(path for path in folder.resolve().rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
        self.files = ImageFolderSource(folder, files)
        self.records = records

    def __len__(self) -> int:
        return self.records

    def __getitem__(self, number: int) -> Record:
        return {"image": self.files[int(number) % len(self.files)]["image"], "label": np.int32(number)}


@dataclass(frozen=True)
class Crop:
    """Random resized crop to ``size``, random by the record's number alone: the same pixels for every loader."""

    size: int

    def __call__(self, record: Record) -> Record:
        from datarax_mp import RandomResizedCrop  # delayed, as above

        rng = np.random.default_rng((SEED, int(record["label"])))
        return RandomResizedCrop(self.size).random_map(record, rng)


@dataclass(frozen=True)
class Numbers:
    """Tiny records, ``{"x": 16 float32, "label": number}``."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Record:
        return {"x": np.full(16, number, np.float32), "label": np.int32(number)}


CYCLE = 112  # seven batches of 16: no usual number of workers divides it, so none always gets the same batches
_PLACES: list[int] = np.random.default_rng(0).permutation(CYCLE).tolist()


@dataclass(frozen=True)
class Busy:
    """A stage that holds the GIL until its thread has used so much CPU time.

    Record n takes one of ``CYCLE`` times, evenly spread on a logarithmic scale, in a fixed order that begins anew.

    Attributes:
        least: seconds.
        most: seconds.
    """

    least: float
    most: float

    def __call__(self, record: Record) -> Record:
        end = time.thread_time() + self.seconds(int(record["label"]))
        while time.thread_time() < end:
            pass
        return record

    def seconds(self, number: int) -> float:
        """How long a record takes.

        >>> busy = Busy(0.001, 0.1)
        >>> busy.seconds(3) == busy.seconds(CYCLE + 3) != busy.seconds(4)
        True
        """
        return self.least * (self.most / self.least) ** ((_PLACES[number % CYCLE] + 0.5) / CYCLE)
