"""Values of other libraries, as NumPy arrays or lists.

None of these libraries is imported here: whoever has such a value has imported them already.

    torch tensor            array over its memory; bfloat16 and the 8-bit floats by ml_dtypes
    pandas, polars, Arrow   numeric columns as arrays, over their memory where there are no nulls and one chunk; text,
                            categories and the like as lists; lists of numbers as lists of arrays, and in structs, too,
                            numbers keep their dtype
    what has __array__, or  whatever NumPy makes of it (jax.Array, PIL image, h5py and zarr)
    __array_interface__

Nulls are errors in numeric columns: their libraries would make NaN of them, and floats of integers.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.strays import is_chance

# Where torch's name and that of ml_dtypes are alike.
NARROW_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")


class Unreadable(ValueError):
    """A value that cannot become an array of numbers without loss; whoever catches it says which value it was.

    Args:
        found: what it is.
        remedy: what can be done.
        position: where in the value the trouble lies, along its first axis, or None.
    """

    def __init__(self, found: str, remedy: str, position: int | None = None) -> None:
        super().__init__(found, remedy, position)
        self.found, self.remedy, self.position = found, remedy, position

    def about(self, what: str, records: Sequence[int] | None = None) -> str:
        """The whole message.

        Args:
            what: how it begins, such as ``record 3, field 'x'``.
            records: where the value is a column, its records' numbers.
        """
        at = ""
        if self.position is not None:
            at = f" (at position {self.position})" if records is None else f" (in record {records[self.position]})"
        return f"{what}: expected numbers, found {self.found}{at}. {self.remedy}"


def as_plain(value: Any) -> Any:
    """A NumPy array or a list for a value of another library; any other value as it is.

    Raises:
        Unreadable: it holds nulls where numbers should be, is sparse, or its library cannot make an array of it.
    """
    library = _library(value)
    if library == "torch":
        return _from_torch(value)
    if library == "pandas":
        return _from_pandas(value)
    if library == "polars":
        return _from_polars(value)
    if library == "pyarrow":
        return _from_arrow(value)
    if library == "h5py" and value.dtype.kind == "O":
        return _from_h5py(value)
    if isinstance(value, np.ndarray):
        return value
    if hasattr(type(value), "__array__") or hasattr(type(value), "__array_interface__"):
        return _by_protocol(value)
    _check_sparse(value)
    return value


def is_of(value: Any, library: str, *kinds: str) -> bool:
    """Whether a value is of one of these classes of a library, which is not imported for it."""
    module = sys.modules.get(library)
    # A library that is just being imported may lack the class still.
    return module is not None and isinstance(value, tuple(getattr(module, kind, ()) for kind in kinds))


def _library(value: Any) -> str:
    """Which of the libraries above a value's kind belongs to, also where the user has derived a class from it."""
    for library, kinds in _KINDS.items():
        if is_of(value, library, *kinds):
            return library
    return ""


_KINDS = {
    "torch": ("Tensor",),
    "pandas": ("Series", "Index"),
    "polars": ("Series",),
    "pyarrow": ("Array", "ChunkedArray", "Scalar"),
    "h5py": ("Dataset",),
}


def _by_protocol(value: Any) -> np.ndarray:
    try:
        array = np.asanyarray(value)
        # Its mask is examined by who asks, as that of any masked array is.
        return array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    except Exception as error:  # whatever the library raises: a typed PRNG key, a tensor on another device
        if is_chance(lambda: np.asarray(value)):
            raise
        raise Unreadable(
            f"a {type(value).__name__} of which NumPy can make no array ({error})",
            "Convert it in the source or in a stage",
        ) from error


def _check_sparse(value: Any) -> None:
    for dense in ("toarray", "todense"):
        if hasattr(value, dense) and (hasattr(value, "nnz") or hasattr(value, "nse")):
            raise Unreadable(f"a sparse {type(value).__name__}", f"Make it dense: value.{dense}()")


def _from_torch(tensor: Any) -> np.ndarray:
    if str(tensor.layout) != "torch.strided" or tensor.is_nested:
        raise Unreadable(f"a sparse or nested tensor ({tensor.layout})", "Make it dense: tensor.to_dense()")
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    narrow = str(tensor.dtype).removeprefix("torch.")
    if narrow in NARROW_FLOATS and tensor.device.type == "cpu":
        import ml_dtypes  # delayed: only for whoever has such a tensor

        torch = sys.modules["torch"]
        bits = tensor.contiguous().view(torch.int16 if tensor.itemsize == 2 else torch.uint8)
        return bits.numpy().view(getattr(ml_dtypes, narrow))
    return _by_protocol(tensor.resolve_conj().resolve_neg())


def _nulls(null: np.ndarray, library: str, remedy: str) -> Unreadable:
    where = np.flatnonzero(null)
    return Unreadable(f"{len(where)} nulls in a numeric column of {library}", remedy, position=int(where[0]))


def _from_pandas(series: Any) -> Any:
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return series.to_numpy()
    numeric = getattr(dtype, "kind", "O")
    if type(dtype).__name__ == "SparseDtype":
        raise Unreadable(f"a sparse column ({dtype})", "Make it dense: series.sparse.to_dense()")
    if numeric not in "iufb" or type(dtype).__name__ == "CategoricalDtype":
        return series.tolist()  # text, objects, categories, times with a zone
    null = np.asarray(series.isna())
    if null.any():
        raise _nulls(null, "pandas", "Say what is to stand there: series.fillna(value), or drop them: frame.dropna()")
    return series.to_numpy(dtype=getattr(dtype, "numpy_dtype", None))


def _from_polars(series: Any) -> Any:
    if _is_number_of_polars(series.dtype) and series.null_count():
        null = series.is_null().to_numpy()
        raise _nulls(null, "polars", "Say what is to stand there: .fill_null(value), or drop them: .drop_nulls()")
    return _items_of_polars(series)


def _items_of_polars(series: Any) -> Any:
    """What each row is, with the dtypes that numbers have there; None where there is nothing."""
    dtype, base = series.dtype, str(series.dtype.base_type())
    if _is_number_of_polars(dtype):
        if not series.null_count():
            return series.to_numpy()
        there = iter(series.drop_nulls().to_numpy())
        return [next(there) if valid else None for valid in series.is_not_null().to_list()]
    if base == "Array" and not series.null_count() and not series.explode().null_count():
        return series.to_numpy()
    if base == "List":
        inner = dtype.inner
        while str(inner.base_type()) == "List":
            inner = inner.inner
        if _is_number_of_polars(inner):
            return [None if item is None else _list_of_polars(item) for item in series]
    if base == "Struct" and dtype.fields:
        names = [field.name for field in dtype.fields]
        children = [_items_of_polars(series.struct.field(name)) for name in names]
        records = [dict(zip(names, row, strict=True)) for row in zip(*children, strict=True)]
        return [one if valid else None for one, valid in zip(records, series.is_not_null().to_list(), strict=True)]
    return series.to_list()


def _list_of_polars(item: Any) -> Any:
    """One list as an array; lists in it that are null or of unequal length stay Python's."""
    found = _from_polars(item)
    if isinstance(found, np.ndarray):
        return found
    arrays = [one for one in found if isinstance(one, np.ndarray)]
    even = len(arrays) == len(found) and len({one.shape for one in arrays}) == 1
    return np.stack(arrays) if even else item.to_list()


def _is_number_of_polars(dtype: Any) -> bool:
    base = str(dtype.base_type())
    return (dtype.is_numeric() and base != "Decimal") or base == "Boolean"


def _from_arrow(values: Any) -> Any:
    types = sys.modules["pyarrow"].types
    if isinstance(values, sys.modules["pyarrow"].Scalar):
        return values.as_py()
    if _is_number(types, values.type):
        if values.null_count:
            null = values.is_null().to_numpy(zero_copy_only=False)
            raise _nulls(null, "Arrow", "Say what is to stand there: pyarrow.compute.fill_null(column, value)")
        return _numbers_of_arrow(values)
    if types.is_fixed_size_list(values.type) or _is_tensor(values.type):
        values = _one_chunk(values)
        if (rows := rows_of_arrow(values)) is not None:
            return rows
    items: list[Any] = []
    for chunk in getattr(values, "chunks", [values]):
        try:
            items.extend(_items_of_arrow(chunk))
        except Unreadable as error:
            place = None if error.position is None else error.position + len(items)
            raise Unreadable(error.found, error.remedy, place) from None
    return items


def rows_of_arrow(values: Any) -> np.ndarray | None:
    """An Arrow array as an array ``(rows, ...)``, over its memory where that can be.

    Returns:
        None where its type does not say that all rows are numbers of one shape, or where there are nulls.
    """
    types, kind = sys.modules["pyarrow"].types, values.type
    if _is_tensor(kind):
        flat = rows_of_arrow(values.storage)
        if flat is None:
            return None
        axes = kind.permutation or range(len(kind.shape))
        return flat.reshape(len(values), *kind.shape).transpose(0, *(1 + axis for axis in axes))
    shape, within = [len(values)], values
    while types.is_fixed_size_list(within.type) and not within.null_count:
        shape.append(within.type.list_size)
        within = within.flatten()
    if within.null_count or not _is_number(types, within.type):
        return None
    return _numbers_of_arrow(within).reshape(shape)


def _items_of_arrow(values: Any) -> np.ndarray | Sequence[Any]:
    """What each row is, with the dtypes that numbers have there; None where there is nothing."""
    types, kind = sys.modules["pyarrow"].types, values.type
    if (rows := rows_of_arrow(values)) is not None:
        return rows
    if values.null_count and (_is_number(types, kind) or _is_tensor(kind)):
        there = iter(_items_of_arrow(values.drop_null()))
        return [next(there) if valid else None for valid in values.is_valid().to_pylist()]
    if _is_list(types, kind) and _is_number(types, _innermost(types, kind)):
        return _lists_of_arrow(values)
    names = [kind.field(place).name for place in range(kind.num_fields)] if types.is_struct(kind) else []
    if not names or len(set(names)) < len(names):
        plain: list[Any] = values.to_pylist()
        return plain
    children = map(_items_of_arrow, values.flatten())
    records = [dict(zip(names, row, strict=True)) for row in zip(*children, strict=True)]
    return [one if valid else None for one, valid in zip(records, values.is_valid().to_pylist(), strict=True)]


def _is_number(types: Any, kind: Any) -> bool:
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _is_list(types: Any, kind: Any) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_tensor(kind: Any) -> bool:
    return is_of(kind, "pyarrow", "FixedShapeTensorType")


def _innermost(types: Any, kind: Any) -> Any:
    """The type of what is in lists, and in lists in them."""
    while _is_list(types, kind):
        kind = kind.value_type
    return kind


def _one_chunk(values: Any) -> Any:
    combined = values.combine_chunks() if hasattr(values, "combine_chunks") else values
    return combined.chunk(0) if hasattr(combined, "chunk") else combined


def _numbers_of_arrow(values: Any) -> np.ndarray:
    one = hasattr(values, "chunks")  # a ChunkedArray makes one array of its chunks itself
    return values.to_numpy() if one else values.to_numpy(zero_copy_only=False)


class _Level(NamedTuple):
    """Lists that lie one behind the other.

    Attributes:
        lengths: int ``(lists,)``, how much is in each; -1 where there is a null instead.
        begins: int64 ``(lists + 1,)``, where in the next level, or among the numbers, each begins, and the end.
    """

    lengths: NDArray[np.integer]
    begins: NDArray[np.int64]


def _lists_of_arrow(values: Any) -> list[Any]:
    """Lists of numbers, or of such lists, each as an array over the column's memory.

    Those that are no array, as lists in them are null or of unequal length, are Python's lists.
    """
    types, levels, within = sys.modules["pyarrow"].types, list[_Level](), values
    while not _is_number(types, within.type):
        lengths = within.value_lengths().fill_null(-1).to_numpy()
        levels.append(_Level(lengths, np.append(0, np.cumsum(np.maximum(lengths, 0), dtype=np.int64))))
        within = within.flatten()  # what belongs to these rows alone: others may have nulls
    if within.null_count:
        position = int(np.flatnonzero(within.is_null().to_numpy(zero_copy_only=False))[0])
        for level in reversed(levels):
            position = int(np.searchsorted(level.begins, position, "right")) - 1
        raise Unreadable(
            "nulls within lists of numbers in an Arrow column", "Fill them before: pyarrow.compute", position
        )
    numbers, outer = _numbers_of_arrow(within), levels[0]
    if len(levels) == 1:  # as token lists are
        bounds = itertools.pairwise(outer.begins.tolist())
        return [
            None if length < 0 else numbers[begin:end]
            for length, (begin, end) in zip(outer.lengths.tolist(), bounds, strict=True)
        ]
    arrays = (_nested(numbers, levels, row) for row in range(len(values)))
    return [values[row].as_py() if array is None else array for row, array in enumerate(arrays)]


def _nested(numbers: np.ndarray, levels: Sequence[_Level], row: int) -> np.ndarray | None:
    """The array that one row is, or None if it is none."""
    begin, end, shape = row, row + 1, list[int]()
    for lengths, begins in levels:
        found = lengths[begin:end]
        if not len(found):
            break  # nothing says how much would be in a list
        if found[0] < 0 or (found != found[0]).any():
            return None
        shape.append(int(found[0]))
        begin, end = int(begins[begin]), int(begins[end])
    return numbers[begin:end].reshape(shape)


def _from_h5py(dataset: Any) -> list[Any]:
    h5py = sys.modules["h5py"]
    text = h5py.check_string_dtype(dataset.dtype)
    return list((dataset.asstr() if text is not None else dataset)[...])
