"""What a user gives a MemorySource as data, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np

from datarax_mp.core.record import VALUE_FIELD, Path, RecordError, field_name, flatten
from datarax_mp.core.values import is_bytes
from datarax_mp.sources.columns import ArrayColumn, Column, ObjectColumn, as_column
from datarax_mp.sources.tables import columns_of, is_array


def as_columns(data: Any) -> dict[Path, Column]:
    """What a user gave as data: columns by path, with ``VALUE_FIELD`` alone for bare rows and ``()`` for whole records.

    Raises:
        TypeError: it is text, or no table, array or sequence; or a tuple of equally long arrays.
        ValueError: columns of unequal length, or no column at all.
        RecordError: a column looks like numbers and cannot become an array without loss.
    """
    if isinstance(data, str) or is_bytes(data):
        raise TypeError(f"data must be a dict of columns or a sequence of records, not {type(data).__name__}")
    _check_no_transposition(data)
    table = columns_of(data)
    if table is not None:
        try:
            leaves = flatten(table)
        except RecordError as error:
            raise TypeError(f"a {type(data).__name__} is read as columns by name: {error}") from None
        return _named_columns(leaves)
    if is_array(data):
        return {VALUE_FIELD: as_column(_sized(VALUE_FIELD, data), VALUE_FIELD)}
    if isinstance(data, Sequence) or (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return {(): ObjectColumn(data)}
    raise TypeError(f"data must be a dict of columns or a sequence of records, not {type(data).__name__}")


def _named_columns(leaves: dict[Path, Any]) -> dict[Path, Column]:
    """Columns, and single values beside them, which are every record's."""
    single = {path: values for path, values in leaves.items() if _is_single(values)}
    if len(single) == len(leaves):
        single = {}  # then there is no length, and each is the column that it cannot be
    columns = {path: as_column(_sized(path, values), path) for path, values in leaves.items() if path not in single}
    if not columns:
        raise ValueError("data holds no column; expected a dict such as {'image': images, 'label': labels}")
    lengths = {field_name(path): len(column) for path, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have equal length, found {lengths}")
    length = next(iter(lengths.values()))
    return {path: columns[path] if path in columns else _repeated(single[path], path, length) for path in leaves}


def _is_single(value: Any) -> bool:
    return isinstance(value, (str, Number, np.generic)) or is_bytes(value) or getattr(value, "shape", None) == ()


def _repeated(value: Any, path: Path, length: int) -> Column:
    column = as_column([value], path)
    if isinstance(column, ArrayColumn):
        return ArrayColumn(np.repeat(column.array, length, axis=0))
    return ObjectColumn([value] * length)


_MOST_COLUMNS = 8  # a longer tuple of arrays is more likely one of records


def _check_no_transposition(data: Any) -> None:
    """Refuse ``(X, y)``: it would be two records, and whoever writes it means two columns.

    Raises:
        TypeError: it is a tuple, or a list of arrays of different rank, whose arrays are equally long.
    """
    if type(data) not in (list, tuple) or not 2 <= len(data) <= _MOST_COLUMNS:
        return
    shapes = [tuple(getattr(item, "shape", ())) for item in data]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) > 1 or None in lengths or (type(data) is list and len(set(map(len, shapes))) == 1):
        return
    names = [f"'field {place}': data[{place}]" for place in range(len(data))]
    raise TypeError(
        f"a {type(data).__name__} of {len(data)} arrays, each {lengths.pop()} long, would be read as {len(data)} "
        f"records. Columns need names: {{{', '.join(names)}}}, such as {{'image': X, 'label': y}}; if these are the "
        "records, pass np.stack(data) or a list of dicts"
    )


def _sized(path: Path, values: Any) -> Any:
    kind = type(values)
    # An array may have no __len__ (zarr), and a sparse matrix has one that raises.
    if _is_single(values) or not (hasattr(kind, "__getitem__") or hasattr(kind, "shape")):
        raise TypeError(f"column '{field_name(path)}' must be an array or a list, not {kind.__name__}")
    return values
