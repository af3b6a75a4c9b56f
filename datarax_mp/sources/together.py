"""Several records of several sources, read in few calls.

Each source is asked once for all records that are wanted of it, by its quickest way; where all of them answer with
columns that are alike, the answer is columns, too. One that has no way but one by one is asked for a record when its
turn comes: it may give the same memory every time, and a batch's records may be too large to be there all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.distinct import distinct
from datarax_mp.core.record import Path, RecordError, flatten, nest
from datarax_mp.sources.adapt import Source, quick_way
from datarax_mp.sources.answers import miscounted, plain_columns
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.sources.records import InTurn, Records
from datarax_mp.sources.tables import columns_of

Numbers: TypeAlias = NDArray[np.int64]
Found: TypeAlias = Sequence[Any] | Records | dict[str, Any]  # records, or a column for each field
Edit: TypeAlias = Callable[[int, Any], Any]  # of a source's place and a record of it, another record
EditAll: TypeAlias = Callable[[int, dict[str, Any], int], dict[str, Any]]  # ... and columns, and how many records


def read_together(source: Source, numbers: Numbers) -> Found:
    """Records of one source, in one call where it has a way for that, otherwise when they are asked for.

    Raises:
        RecordError: the source returned more or fewer than it was asked for, or masked values or nulls.
    """
    if isinstance(source, MemorySource) and quick_way(source, "take") is not None:
        return source.take(numbers)
    wanted, many = numbers.tolist(), quick_way(source, "__getitems__")
    if many is None:
        return InTurn(lambda place: source[wanted[place]], len(wanted))
    found, name = many(wanted), type(source).__name__
    if (table := columns_of(found)) is not None:
        return nest(plain_columns(table, wanted, name))
    records = found if isinstance(found, Records) else list(found)
    if len(records) != len(wanted):
        raise RecordError(miscounted(name, wanted, str(len(records))))
    return records


def read_of_several(
    sources: Sequence[Source],
    owners: Numbers,
    numbers: Numbers,
    edit: Edit = lambda place, record: record,
    edit_all: EditAll = lambda place, columns, rows: columns,
) -> Found:
    """Records of several sources.

    Args:
        sources: the sources.
        owners: int64 ``(n,)``, the place of the source that each record is of.
        numbers: int64 ``(n,)``, its number there.
        edit: what is done to a record of a source.
        edit_all: the same, done to columns.

    Returns:
        The records in the order in which they are asked for.
    """
    parts: list[tuple[int, Numbers, Found]] = []
    for place in distinct(owners).tolist():
        rows = np.flatnonzero(owners == place)
        parts.append((place, rows, read_together(sources[place], numbers[rows])))
    if all(isinstance(found, dict) for _, _, found in parts):
        leaves = [
            (rows, flatten(edit_all(place, found, len(rows))))
            for place, rows, found in parts
            if isinstance(found, dict)
        ]
        if (columns := _joined(leaves, len(numbers))) is not None:
            return nest(columns)
    return _in_order(parts, len(numbers), edit)


def _in_order(parts: Sequence[tuple[int, Numbers, Found]], count: int, edit: Edit) -> Sequence[Any] | Records:
    """The records of several sources, in the order in which they are wanted."""
    picked = [(place, rows.tolist(), _picker(found)) for place, rows, found in parts]
    if any(isinstance(found, Records) for _, _, found in parts):
        where = {row: (place, pick, at) for place, rows, pick in picked for at, row in enumerate(rows)}

        def record(row: int) -> Any:
            place, pick, at = where[row]
            return edit(place, pick(at))

        return InTurn(record, count)
    records: list[Any] = [None] * count
    for place, rows, pick in picked:
        for at, row in enumerate(rows):
            records[row] = edit(place, pick(at))
    return records


def _joined(parts: Sequence[tuple[Numbers, dict[Path, Any]]], count: int) -> dict[Path, Any] | None:
    """The columns of several sources as one of each; None if they are not alike."""
    first = parts[0][1]
    if any(leaves.keys() != first.keys() for _, leaves in parts):
        return None
    joined: dict[Path, Any] = {}
    for path, like in first.items():
        columns = [(rows, leaves[path]) for rows, leaves in parts]
        arrays = isinstance(like, np.ndarray)
        if arrays:
            kinds = {
                (column.dtype, column.shape[1:]) if isinstance(column, np.ndarray) else None for _, column in columns
            }
            if len(kinds) > 1:
                return None
            joined[path] = np.empty((count, *like.shape[1:]), like.dtype)
        elif all(isinstance(column, list) for _, column in columns):
            joined[path] = [None] * count
        else:
            return None
        for rows, column in columns:
            if arrays:
                joined[path][rows] = column
            else:
                for row, value in zip(rows.tolist(), column, strict=True):
                    joined[path][row] = value
    return joined


def _picker(found: Found) -> Callable[[int], Any]:
    """What gives one of the records."""
    if not isinstance(found, dict):
        return found.__getitem__
    leaves = flatten(found)
    return lambda row: nest({path: column[row] for path, column in leaves.items()})


def checked_numbers(numbers: Sequence[int] | Numbers, length: int) -> Numbers:
    """Record numbers as an array.

    Raises:
        IndexError: one of them is outside of the records.
    """
    array = np.asarray(numbers, np.int64)
    if len(array) and not 0 <= array.min() <= array.max() < length:
        wrong = array[(array < 0) | (array >= length)][0]
        raise IndexError(f"record {wrong} is outside of the {length} records")
    return array


def one_number(number: int, length: int) -> int:
    """A record's number; negative ones count from the end.

    Raises:
        IndexError: there is no such record.
    """
    if not -length <= number < length:
        raise IndexError(f"record {number} is outside of the {length} records")
    return int(number) % length
