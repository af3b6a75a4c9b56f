"""Several records of several sources, read in few calls.

Each source is asked once for all records that are wanted of it, by its quickest way; where all of them answer with
columns that are alike, the answer is columns, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.distinct import distinct
from datarax_mp.core.record import Path, flatten, nest
from datarax_mp.sources.adapt import Source, quick_way
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.sources.tables import columns_of

Numbers: TypeAlias = NDArray[np.int64]
Found: TypeAlias = Sequence[Any] | dict[str, Any]  # records, or a column for each field
Edit: TypeAlias = Callable[[int, Any], Any]  # of a source's place and a record of it, another record
EditAll: TypeAlias = Callable[[int, dict[str, Any], int], dict[str, Any]]  # ... and columns, and how many records


def read_together(source: Source, numbers: Numbers) -> Found:
    """Records of one source, in one call where it has a way for that."""
    if isinstance(source, MemorySource) and quick_way(source, "take") is not None:
        return source.take(numbers)
    many = quick_way(source, "__getitems__")
    if many is None:
        return [source[number] for number in numbers.tolist()]
    found = many(numbers.tolist())
    table = columns_of(found)
    return list(found) if table is None else dict(table)


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
    records: list[Any] = [None] * len(numbers)
    for place, rows, found in parts:
        for row, record in zip(rows.tolist(), _one_by_one(found, len(rows)), strict=True):
            records[row] = edit(place, record)
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


def _one_by_one(found: Found, count: int) -> Sequence[Any]:
    if not isinstance(found, dict):
        return found
    leaves = flatten(found)
    return [nest({path: column[row] for path, column in leaves.items()}) for row in range(count)]


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
