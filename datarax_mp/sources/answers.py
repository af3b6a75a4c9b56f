"""What a source answers when it is asked for several records at once: columns that are what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.foreign import Unreadable, as_plain
from datarax_mp.core.record import Path, RecordError, field_name, leaves_of
from datarax_mp.core.values import is_bytes, read


def plain_columns(tree: Mapping[str, Any], numbers: Sequence[int], source: str) -> dict[Path, Any]:
    """Columns of any library as arrays of numbers or, where they hold anything else, as sequences of values.

    Args:
        tree: a column for each field, nested as the records are: an array ``(records, ...)`` or another sequence.
        numbers: the records' numbers.
        source: the source's name, for messages.

    Raises:
        RecordError: a column has more or fewer values than there are records, or masked values or nulls.
    """
    columns: dict[Path, Any] = {}
    for path, column in leaves_of(tree).items():
        plain: Any = column
        rows: int | str = "no"
        quick = type(column) is np.ndarray and column.ndim and column.dtype.kind in "fiub"
        if quick or type(column) is list:  # as most are
            rows = len(column)
        elif not _is_single(column):
            try:
                plain = plain_column(column)
            except Unreadable as error:
                raise RecordError(error.about(f"{source}, field '{field_name(path)}'", numbers)) from error.__cause__
            rows = len(plain)
        if rows != len(numbers):
            raise RecordError(miscounted(source, numbers, f"{rows} values of field '{field_name(path)}'"))
        columns[path] = plain
    return columns


def plain_column(column: Any) -> Any:
    """A column as an array of numbers or, where it holds anything else, as a sequence of the records' values.

    Raises:
        Unreadable: it looks like numbers, and has masked values, nulls or objects.
    """
    plain = as_plain(column)
    if not isinstance(plain, np.ndarray):
        return plain
    if plain.dtype.hasobject and not plain.dtype.names and plain.ndim == 1:
        return plain.tolist()
    numbers = read(plain)
    return plain.tolist() if numbers is None else numbers


def miscounted(source: str, numbers: Sequence[int], found: str) -> str:
    """The words for a source that gave more or fewer records, or values, than it was asked for."""
    return f"{source}.__getitems__ was asked for {len(numbers)} records {numbers} and returned {found}"


def _is_single(column: Any) -> bool:
    """Whether this is one value and no column."""
    if isinstance(column, str) or is_bytes(column) or getattr(column, "ndim", 1) == 0:
        return True
    return not (hasattr(column, "__len__") or hasattr(column, "shape"))
