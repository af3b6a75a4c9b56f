"""How the data of a MemorySource is stored, and how it reaches workers without a copy per worker.

An ``ArrayColumn`` is an array; an ``ObjectColumn`` holds any Python objects. Before workers see a column it is
*placed*: arrays are copied into one shared segment; objects are pickled into one buffer with offsets, because a list of
objects that is shared by forking gets copied page by page as reference counts change (pytorch #13246); and memmaps are
left in their file, which every worker opens by its path. From then on this process, too, serves the column from the
shared copy.
"""

from __future__ import annotations

import array as arrays
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.foreign import Unreadable, as_plain
from datarax_mp.core.pickling import dumps_for_workers
from datarax_mp.core.record import Path, RecordError, field_name
from datarax_mp.core.spec import align
from datarax_mp.core.values import read
from datarax_mp.ring.mapped import MappedFile, Mappings, is_mapped
from datarax_mp.ring.segment import Segment, megabytes
from datarax_mp.sources.originals import Original
from datarax_mp.sources.own_copy import own_copy

_CHUNK = 4096  # values that are pickled at a time
# Of the columns of one segment there are two copies for a moment; a segment takes two descriptors in each process.
_LEAST_SEGMENT = 1 << 25  # bytes
_MOST_SEGMENTS = 16  # about, whatever the number of columns

_RECORDS = range(sys.maxsize)  # in a whole column, a value's place is its record's number


@dataclass(frozen=True)
class InSegment:
    """An array in shared memory."""

    segment: Segment
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def intact(self) -> bool:
        """Whether it can be sent to another process; other code may have closed the descriptor."""
        return self.segment.intact()

    def open(self) -> np.ndarray:
        """Map it, read-only: a stage that wrote to a record would change it for all workers."""
        return np.ndarray(self.shape, self.dtype, self.segment.map(writable=False), self.offset)


@dataclass(frozen=True)
class InFile:
    """An array in a file, to be memory-mapped by whoever reads it."""

    file: MappedFile
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]

    def intact(self) -> bool:
        """It is sent as a path."""
        return True

    def open(self) -> np.ndarray:
        """Map it, read-only.

        Raises:
            FileNotFoundError: the file has gone.
            OSError: another file has its name by now, or it has been shortened.
        """
        return np.ndarray(self.shape, self.dtype, replace(self.file, mode="r").open(), self.offset, self.strides)


class ArrayColumn:
    """An array whose rows are the records' values."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.home: InSegment | InFile | None = None
        self.original: Original | None = None  # once it is placed

    @classmethod
    def at(cls, home: InSegment | InFile) -> ArrayColumn:
        """The column whose array has been placed."""
        column = cls.__new__(cls)
        column.array, column.home, column.original = home.open(), home, None
        return column

    def __reduce__(self) -> Any:
        """By value; only a worker's recipe, which carries descriptors, refers to shared memory."""
        return ArrayColumn, (np.array(self.array),)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, number: int) -> np.ndarray:
        # The ellipsis keeps a scalar an array, so that its dtype survives. Read-only, as it is in a worker.
        row = self.array[number, ...]
        row.flags.writeable = False
        return row

    def is_placed(self) -> bool:
        """Whether workers can map it."""
        return self.home is not None

    def take(self, rows: NDArray[np.int64] | slice, out: np.ndarray) -> None:
        """Gather rows into ``out`` of the same dtype."""
        if isinstance(rows, slice):
            np.copyto(out, self.array[rows])
        else:
            # mode="clip" because NumPy buffers ``out`` under mode="raise"; the numbers come from the order, in range.
            self.array.take(rows, axis=0, out=out, mode="clip")


def as_rows(numbers: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Record numbers, as a slice where they follow one another: copying a block is quicker than gathering rows."""
    first = int(numbers[0])
    if numbers[-1] - first + 1 == len(numbers) and (np.diff(numbers) == 1).all():
        return slice(first, first + len(numbers))
    return numbers


class ObjectColumn:
    """Python objects, one per record: a sequence of the user's or, once placed, pickles in one buffer."""

    def __init__(self, values: Sequence[Any] | None, packed: tuple[ArrayColumn, ArrayColumn] | None = None) -> None:
        # A list is copied, or what becomes of it would depend on whether the values have been packed already.
        self.values = list(values) if type(values) is list else values
        self.packed = packed

    def __len__(self) -> int:
        return len(self.values) if self.values is not None else len(self.packed[1]) - 1  # type: ignore[index]

    def __getitem__(self, number: int) -> Any:
        return self.lend(number) if self.values is None else own_copy(self.values[number])

    def lend(self, number: int) -> Any:
        """The same for who changes nothing: the user's own object, where it has not been placed."""
        if self.values is not None:
            return self.values[number]
        assert self.packed is not None
        data, offsets = self.packed[0].array, self.packed[1].array
        return pickle.loads(data[offsets[number] : offsets[number + 1]].data)

    def is_placed(self) -> bool:
        """Whether workers can map it."""
        return self.packed is not None and all(part.is_placed() for part in self.packed)

    def pack(self) -> None:
        """Pickle the values into one buffer and let go of the objects."""
        if self.values is None:
            return
        dumps = dumps_for_workers()
        offsets = np.zeros(len(self.values) + 1, np.int64)
        chunks: list[bytes] = []
        for start in range(0, len(self.values), _CHUNK):
            numbers = range(start, min(start + _CHUNK, len(self.values)))
            pickles = [_pickle(dumps, self.values[number], number) for number in numbers]
            offsets[start + 1 : start + 1 + len(pickles)] = [len(pickled) for pickled in pickles]
            chunks.append(b"".join(pickles))
        np.cumsum(offsets, out=offsets)
        self.packed, self.values = (ArrayColumn(_joined(chunks)), ArrayColumn(offsets)), None


def _joined(chunks: list[bytes]) -> np.ndarray:
    """The bytes of all chunks as one array; each chunk goes when it is in there."""
    data = np.empty(sum(map(len, chunks)), np.uint8)
    end = data.size
    while chunks:
        chunk = chunks.pop()
        data[end - len(chunk) : end] = np.frombuffer(chunk, np.uint8)
        end -= len(chunk)
    return data


Column = ArrayColumn | ObjectColumn


def as_column(values: Any, path: Path) -> Column:
    """Make a column: an array where the values read as numbers, else a column of objects.

    Raises:
        RecordError: they look like numbers and cannot become an array without loss (masked values, nulls).
        TypeError: an array of objects with more than one axis.
    """
    try:
        plain = as_plain(values)
        if isinstance(plain, np.ndarray) and plain.dtype.hasobject and not plain.dtype.names:
            return ObjectColumn(_objects(plain, path))
        array = read(plain if isinstance(plain, (np.ndarray, list, tuple, range, arrays.array)) else list(plain))
    except Unreadable as error:
        raise RecordError(error.about(f"column '{field_name(path)}'", _RECORDS)) from error.__cause__
    if array is not None:
        return ArrayColumn(plain if isinstance(plain, np.memmap) else array)
    return ObjectColumn(plain.tolist() if isinstance(plain, np.ndarray) else plain)


def _objects(array: np.ndarray, path: Path) -> list[Any]:
    if array.ndim > 1:
        raise TypeError(
            f"column '{field_name(path)}': expected numbers, found an object array of shape {array.shape}. Give it a "
            "numeric dtype, or pass a list if the values are text or plain objects"
        )
    values: list[Any] = array.tolist()
    read(values)  # nulls among numbers, say
    return values


def place(columns: Sequence[Column], purpose: str) -> None:
    """Move all columns that are not placed yet into shared memory, one after the other.

    What has been copied is let go before more memory is taken, so that nothing exists twice but the columns of one
    segment, and what somebody else holds as well. There are few segments, for each takes descriptors.

    Raises:
        SharedMemoryError: there is too little shared memory for them. Those that were placed stay so.
    """
    pending = [part for column in columns for part in _parts(column) if _is_pending(part)]
    if mapped := [column for column in pending if is_mapped(column.array)]:
        mappings = Mappings()
        for column in mapped:
            column.home = _in_file(column.array, mappings)
        pending = [column for column in pending if column.home is None]
    for column in pending:
        if column.array.dtype.hasobject:  # addresses in this process would crash another
            raise TypeError(f"{purpose}: an array of dtype {column.array.dtype} holds objects, which cannot be shared")
    size = sum(align(column.array.nbytes) for column in pending)
    least = max(_LEAST_SEGMENT, size // _MOST_SEGMENTS)
    together: list[ArrayColumn] = []
    part = 0
    for number, column in enumerate(pending, 1):
        together.append(column)
        part += align(column.array.nbytes)
        if part >= least or number == len(pending):
            _move(together, part, purpose if part == size else f"{purpose}, {megabytes(size)} in all")
            together, part = [], 0


def _move(columns: Sequence[ArrayColumn], size: int, purpose: str) -> None:
    """Move columns into one segment of their size."""
    segment = Segment.create(size, purpose, "Give the largest columns as np.memmap, which needs no shared memory")
    memory = segment.map()
    offset = 0
    for column in columns:
        array = column.array
        np.copyto(np.ndarray(array.shape, array.dtype, memory, offset), array)
        home = InSegment(segment, offset, array.shape, array.dtype)
        column.original = column.original or Original(array)
        column.array = home.open()
        column.home = home  # last, so that a column that an exception came to is placed again, from what it holds
        offset += align(array.nbytes)


def _parts(column: Column) -> Sequence[ArrayColumn]:
    """The arrays that a column consists of for workers."""
    if isinstance(column, ArrayColumn):
        return (column,)
    column.pack()
    assert column.packed is not None
    return column.packed


def _is_pending(column: ArrayColumn) -> bool:
    """Whether it is to be placed: it is new, the user has changed it, or other code has closed a descriptor."""
    if column.original is not None and (now := column.original.changed(column.array)) is not None:
        column.array, column.home, column.original = now, None, None
    if column.home is not None and not column.home.intact():
        column.home = None
    return column.home is None


def _pickle(dumps: Callable[[Any], bytes], value: Any, number: int) -> bytes:
    try:
        return dumps(value)
    except Exception as error:
        raise TypeError(
            f"record {number} cannot be sent to worker processes: a {type(value).__name__} does not pickle "
            f"({error}). Hold plain data in the source, or use num_workers=0"
        ) from error


def _in_file(array: np.ndarray, mappings: Mappings) -> InFile | None:
    """Where in a mapped file an array lies, or None if it does not, or what is written to it stays in this process."""
    low, high = np.lib.array_utils.byte_bounds(array)
    place = mappings.place(low, high - low)
    if place is None or place.file.mode == "c":
        return None
    offset = place.offset + array.__array_interface__["data"][0] - low
    return InFile(place.file, offset, array.shape, array.dtype, array.strides)
