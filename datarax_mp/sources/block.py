"""One block of a source, decoded: its columns or its records, of which rows are taken.

columns    {path: array (rows, ...) | Arrow array | list}      a table of any library, or a dict
records    list | Records                                      whatever the source calls a record
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.foreign import Unreadable, as_plain, is_of, rows_of_arrow
from datarax_mp.core.parted import head, pieces, starts
from datarax_mp.core.pickling import dumps
from datarax_mp.core.record import Path, RecordError, field_name, flatten, nest
from datarax_mp.core.whole import write_at
from datarax_mp.sources.answers import plain_column
from datarax_mp.sources.records import Records
from datarax_mp.sources.tables import columns_of

Rows: TypeAlias = NDArray[np.int64]
Gathered: TypeAlias = list[Any] | dict[str, Any]  # records, or a column for each field

_UNCHANGING = frozenset({str, bytes, int, float, bool, complex, type(None)})
OFFSETS_REACH = (1 << 31) - 1
"""Bytes of text in one piece, with offsets of 32 bits."""


class Packed(Records):
    """A list as one buffer with offsets: each value is pickled, and asking for one gives a copy.

    Args:
        data: uint8, the pickles one behind the other.
        offsets: int64 ``(values + 1,)``, where each begins, and the end.
    """

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._data, self._offsets = data, offsets

    @classmethod
    def of(cls, values: Sequence[Any]) -> Packed:
        """Pack values.

        Raises:
            Exception: one of them does not pickle.
        """
        pickles = [dumps(value) for value in values]
        offsets = np.cumsum([0, *map(len, pickles)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(pickles), np.uint8), offsets)

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return int(self._data.nbytes + self._offsets.nbytes)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, place: int) -> Any:
        return pickle.loads(self._data[self._offsets[place] : self._offsets[place + 1]].data)


class Block:
    """What ``BlockSource.read_block`` gave.

    Args:
        columns: the columns by path, or None.
        records: the records where there are no columns.

    Attributes:
        rows: how many records there are.
        columns: see above.
    """

    def __init__(self, columns: dict[Path, Any] | None, records: Records | None = None) -> None:
        self.columns, self._records = columns, records
        self.rows = len(records or ()) if columns is None else len(next(iter(columns.values()), ()))

    @classmethod
    def of(cls, content: Any, rows: int, name: str) -> Block:
        """A block out of what a source gave.

        Args:
            content: a table, a dict of columns, a list of records or ``Records``.
            rows: how many records the source said there are.
            name: what messages call the block.

        Raises:
            RecordError: there are more or fewer, or a column holds masked values, or nulls among numbers.
        """
        table = columns_of(content)
        if table is None:
            block = cls(None, content if isinstance(content, Records) else Packed.of(list(content)))
            lengths = {"records": block.rows}
        else:
            columns = {path: _column(column, path, name) for path, column in flatten(table).items()}
            block = cls(columns)
            lengths = {f"values of field '{field_name(path)}'": len(column) for path, column in columns.items()}
        for what, length in lengths.items():
            if length != rows:
                raise RecordError(
                    f"{name}: expected the {rows} records that its source says it has, found {length} {what}. If the "
                    "data were changed, make the source anew"
                )
        return block

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes."""
        return sum(_size(part) for part in ([self._records] if self.columns is None else self.columns.values()))

    def write(self, file: int) -> int:
        """Write it to a file, so that ``Block.read`` finds it there; returns how many bytes that takes.

        Raises:
            OSError: there is not so much room.
        """
        columns = self.columns
        if columns is not None:
            columns = {path: Packed.of(part) if isinstance(part, list) else part for path, part in columns.items()}
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps((columns, self._records), 5, buffer_callback=buffers.append)
        parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
        sizes = [part.nbytes for part in parts]
        begins = starts(sizes)
        size = begins[-1] + sizes[-1]
        os.truncate(file, size)
        for start, part in zip([0, *begins], [memoryview(head(sizes)), *parts], strict=True):
            write_at(file, start, part)
        return size

    @classmethod
    def read(cls, memory: Any) -> Block:
        """A block that looks into memory to which ``write`` has written."""
        pickled, *buffers = pieces(memoryview(memory).toreadonly())
        return cls(*pickle.loads(pickled, buffers=buffers))

    def record(self, row: int) -> Any:
        """One of its records, where it has no columns."""
        assert self._records is not None
        return self._records[row]

    def records(self, rows: Rows) -> Sequence[Any]:
        """Some of its records, each of them a copy."""
        if self.columns is None:
            assert self._records is not None
            return [self._records[row] for row in rows.tolist()]
        numbers = rows.tolist()
        columns = {path: _taken(column, rows, path, numbers) for path, column in self.columns.items()}
        return [nest({path: column[place] for path, column in columns.items()}) for place in range(len(rows))]


class Part(NamedTuple):
    """Some of the records that are wanted together.

    Attributes:
        places: int64, their places among all of them.
        block: the block that they are of.
        rows: int64, which of it they are.
    """

    places: Rows
    block: Block
    rows: Rows


def gather(parts: Sequence[Part], numbers: Rows) -> Gathered:
    """Records out of several blocks.

    Args:
        parts: which; at least one.
        numbers: int64, what messages call them.

    Returns:
        A dict of columns where all blocks have the same, otherwise a list of records.

    Raises:
        RecordError: there are nulls among the numbers of one of them.
    """
    first = parts[0].block.columns
    if first is not None and all(_alike(part.block.columns, first) for part in parts):
        return nest({path: _gathered(path, column, parts, numbers) for path, column in first.items()})
    records: list[Any] = [None] * len(numbers)
    for places, block, rows in parts:
        for place, record in zip(places.tolist(), block.records(rows), strict=True):
            records[place] = record
    return records


def _alike(columns: Mapping[Path, Any] | None, first: Mapping[Path, Any]) -> bool:
    if columns is None or columns.keys() != first.keys():
        return False
    return columns is first or all(_kind(columns[path]) == _kind(column) for path, column in first.items())


def _kind(column: Any) -> Any:
    """What columns have to have in common to become one."""
    return (column.dtype, column.shape[1:]) if isinstance(column, np.ndarray) else None


def _gathered(path: Path, first: Any, parts: Sequence[Part], numbers: Rows) -> Any:
    if isinstance(first, np.ndarray):
        array = np.empty((len(numbers), *first.shape[1:]), first.dtype)
        for places, block, rows in parts:
            array[places] = block.columns[path][rows]  # type: ignore[index]
        return array
    values: list[Any] = [None] * len(numbers)
    for places, block, rows in parts:
        found = _taken(block.columns[path], rows, path, numbers[places].tolist())  # type: ignore[index]
        for place, value in zip(places.tolist(), found, strict=True):
            values[place] = value
    return values


def _column(column: Any, path: Path, name: str) -> Any:
    if is_of(column, "pyarrow", "ChunkedArray", "Array"):
        return _of_arrow(column)
    if isinstance(column, np.ndarray) and not isinstance(column, np.ma.MaskedArray):
        return column
    if isinstance(column, list):
        # What can be changed in place would be changed for whoever comes to the record next.
        return column if all(type(value) in _UNCHANGING for value in column) else Packed.of(column)
    try:
        plain = plain_column(column)
    except Unreadable as error:
        raise RecordError(error.about(f"{name}, field '{field_name(path)}'")) from error.__cause__
    return plain if isinstance(plain, np.ndarray) else _column(list(plain), path, name)


def _of_arrow(column: Any) -> Any:
    """Numbers as an array, over Arrow's memory where that can be; what may have nulls, and all else, in one piece."""
    import pyarrow as pa  # whoever has such a column has imported it

    whole = _in_one_piece(column) if isinstance(column, pa.ChunkedArray) else column
    rows = rows_of_arrow(whole)
    return whole if rows is None else rows


def _in_one_piece(column: Any) -> Any:
    """An Arrow column without chunks; of text and bytes that are too many for their offsets, with longer ones."""
    import pyarrow as pa

    if column.nbytes > OFFSETS_REACH and pa.types.is_string(column.type):
        column = column.cast(pa.large_string())
    elif column.nbytes > OFFSETS_REACH and pa.types.is_binary(column.type):
        column = column.cast(pa.large_binary())
    return pa.concat_arrays(column.chunks)


def _taken(column: Any, rows: Rows, path: Path, numbers: Sequence[int]) -> Any:
    if isinstance(column, np.ndarray):
        return column[rows]
    if isinstance(column, (list, Packed)):
        return [column[row] for row in rows.tolist()]
    try:
        return as_plain(column.take(rows))
    except Unreadable as error:
        raise RecordError(error.about(f"field '{field_name(path)}'", numbers)) from error.__cause__


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(len(one) if isinstance(one, (str, bytes)) else 32 for one in value)
    return int(value.nbytes)
