"""What every system has to do: which records, what is done to them, how they become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _benchmark.sources import (
    CYCLE,
    SEED,
    Arrays,
    Busy,
    Columns,
    Crop,
    Numbers,
    Photos,
    Ragged,
    Record,
    Tokens,
)

MOST_TOKENS = 512  # of a ragged record
WINDOW = 1024
SHORT = 8  # batches in an epoch of the check


@dataclass(frozen=True)
class Workload:
    """A kind of work, without its data.

    Attributes:
        about: what it is, for the reader of the table.
        batch_size: records in a batch.
        batches: batches in an epoch, which divides without a rest.
        source: makes so many records, given a folder for files and the folder of photographs.
        fields: the arrays of a batch.
        stages: what is done to each record, one after the other.
        shuffle: whether the order is a permutation, or that of the record numbers.
        pad: the field that is padded to the longest of the batch.
        compute: whether the stages' computing is the limit, rather than memory.
        small: whether arrays are so small that peers gain from a jitted identity instead of ``device_put``.
        cycle: after how many batches in order the same cost comes again.
        default: whether it is measured unless asked for.
    """

    about: str
    batch_size: int
    batches: int
    source: Callable[[int, Path, Path | None], Any]
    fields: tuple[str, ...]
    stages: tuple[Callable[[Record], Record], ...] = ()
    shuffle: bool = True
    pad: str | None = None
    compute: bool = False
    small: bool = False
    cycle: int = 1
    default: bool = True

    def make(self, scratch: Path, folder: Path | None, *, short: bool = False) -> Work:
        """The work with its data; ``short`` epochs have ``SHORT`` batches."""
        batches = SHORT if short else self.batches
        return Work(self, self.source(batches * self.batch_size, scratch, folder), batches, short)


@dataclass(frozen=True)
class Work:
    """A workload and its records. As a dataset it is what the users of a loader without stages write.

    Attributes:
        load: the workload.
        source: its records, before the stages.
        batches: in an epoch.
        short: whether epochs must end, because they are checked.
    """

    load: Workload
    source: Any
    batches: int
    short: bool

    def __len__(self) -> int:
        """How many records there are."""
        return self.batches * self.load.batch_size

    def __getitem__(self, number: int) -> Record:
        """One record, with all stages applied."""
        record = self.source[number]
        for stage in self.load.stages:
            record = stage(record)
        return record

    def batch(self, numbers: NDArray[np.integer]) -> Arrays:
        """The batch of these records: in one call where the source can, else record by record."""
        if hasattr(self.source, "batch"):
            return self.source.batch(numbers)
        return self.stack([self[number] for number in numbers])

    def stack(self, records: Sequence[Record]) -> Arrays:
        """Records as a batch, padded if need be."""
        arrays = {}
        for name in self.load.fields:
            values = [record[name] for record in records]
            arrays[name] = _padded(values) if name == self.load.pad else np.stack(values)
        return arrays

    def epochs(self, first: int = 0, step: int = 1, seed: int = SEED) -> Iterator[Iterator[np.ndarray]]:
        """The record numbers of every ``step``-th batch from ``first`` on; an iterator for each epoch."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self)) if self.load.shuffle else np.arange(len(self))
            yield iter(order.reshape(self.batches, self.load.batch_size)[first::step])

    @property
    def most_bytes(self) -> int:
        """The most that a batch can have."""
        arrays = self.batch(np.arange(self.load.batch_size))
        if self.load.pad is None:
            return sum(array.nbytes for array in arrays.values())
        return self.load.batch_size * (MOST_TOKENS + 1) * 4


def _padded(values: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.zeros((len(values), max(map(len, values))), values[0].dtype)
    for row, value in zip(rows, values, strict=True):
        row[: len(value)] = value
    return rows


def _images(size: int) -> Callable[[int, Path, Path | None], Columns]:
    def make(records: int, scratch: Path, folder: Path | None) -> Columns:
        rng = np.random.default_rng(SEED)
        return Columns({"image": rng.integers(0, 256, (records, size, size, 3), np.uint8), "label": _labels(records)})

    return make


def _table(records: int, scratch: Path, folder: Path | None) -> Columns:
    rng = np.random.default_rng(SEED)
    return Columns({"features": rng.random((records, 16), np.float32), "label": _labels(records)})


def _labels(records: int) -> np.ndarray:
    return np.arange(records, dtype=np.int32)


def _tokens(records: int, scratch: Path, folder: Path | None) -> Tokens:
    path = scratch / f"tokens-{records}.bin"
    Tokens.write(path, records, WINDOW)
    return Tokens(str(path), records, WINDOW)


def _ragged(records: int, scratch: Path, folder: Path | None) -> Ragged:
    return Ragged.make(records, MOST_TOKENS)


def _photos(records: int, scratch: Path, folder: Path | None) -> Photos:
    assert folder is not None
    return Photos(folder, records)


def _numbers(records: int, scratch: Path, folder: Path | None) -> Numbers:
    return Numbers(records)


WORKLOADS = {
    "large": Workload("large images, 64 x 224x224x3 uint8", 64, 64, _images(224), ("image", "label")),
    "small": Workload("small images, 256 x 32x32x3 uint8", 256, 400, _images(32), ("image", "label"), small=True),
    "table": Workload("rows, 128 x (16 float32 + int32)", 128, 2000, _table, ("features", "label"), small=True),
    "tokens": Workload(
        "windows, 64 x 1025 int32 of a mapped file of uint16", 64, 512, _tokens, ("tokens", "label"), small=True
    ),
    "photos": Workload(
        "JPEG files, decoded, random resized crop, 64 x 224x224x3 uint8",
        64,
        96,
        _photos,
        ("image", "label"),
        stages=(Crop(224),),
        compute=True,
    ),
    "busy": Workload(
        "Python that holds the GIL for 5 ms a record, 16 x 16 float32, in order",
        16,
        8000,
        _numbers,
        ("x", "label"),
        stages=(Busy(0.005, 0.005),),
        shuffle=False,
        compute=True,
    ),
    "ragged": Workload(
        "lists of 1 to 512 int32 tokens, 64 padded to the longest", 64, 400, _ragged, ("tokens", "label"), pad="tokens"
    ),
    "stragglers": Workload(
        "Python that holds the GIL for 1 to 100 ms a record, log-uniform, 16 x 16 float32, in order",
        16,
        8000,
        _numbers,
        ("x", "label"),
        stages=(Busy(0.001, 0.1),),
        shuffle=False,
        compute=True,
        cycle=CYCLE // 16,
        default=False,
    ),
}
