"""Tables of other libraries, and other containers of columns, as columns by name.

    pandas and polars frames, Arrow tables and record batches      their columns
    mappings: dicts, an open npz or HDF5 file, a zarr group        their items
    named tuples of columns                                        their items

As in ``core.foreign``, no library is imported for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from datarax_mp.core.foreign import is_of


def columns_of(data: Any) -> Mapping[str, Any] | None:
    """The columns of a table, or None if this is no table.

    Raises:
        TypeError: two columns have one name, or the table is one that holds several tables or has not been read yet.
    """
    if type(data) is dict:
        return data  # type: ignore[no-any-return]
    if type(data) in (list, tuple):
        return None
    if isinstance(data, Mapping):
        if is_of(data, "datasets", "DatasetDict", "IterableDatasetDict"):
            raise TypeError(
                f"a {type(data).__name__} holds several data sets {sorted(data)}: choose one, such as "
                f"data[{next(iter(data), 'train')!r}]"
            )
        return data
    if isinstance(data, tuple) and (names := getattr(data, "_fields", None)) is not None:
        return dict(zip(names, data, strict=True))
    if is_of(data, "pandas", "DataFrame"):
        _check_unique(list(data.columns), "a DataFrame")
        return {name: data[name] for name in data.columns}
    if is_of(data, "polars", "LazyFrame"):
        raise TypeError("a LazyFrame has not been read yet: pass frame.collect()")
    if is_of(data, "polars", "DataFrame"):
        return {name: data[name] for name in data.columns}
    if is_of(data, "pyarrow", "Table", "RecordBatch"):
        _check_unique(data.schema.names, "an Arrow table")
        return dict(zip(data.schema.names, data.columns, strict=True))
    if is_of(data, "zarr", "Group"):
        return dict(data.arrays())
    return None


def is_array(data: Any) -> bool:
    """Whether something is an array in memory whose rows are records: NumPy's, JAX's or torch's, a Series, Arrow's."""
    return (
        is_of(data, "numpy", "ndarray")
        or is_of(data, "jax", "Array")
        or is_of(data, "torch", "Tensor")
        or is_of(data, "pandas", "Series", "Index")
        or is_of(data, "polars", "Series")
        or is_of(data, "pyarrow", "Array", "ChunkedArray")
        or is_of(data, "array", "array")
    )


def _check_unique(names: list[Any], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TypeError(f"{what} has several columns named {twice[0]!r}: rename them, a field's name stands for one")
