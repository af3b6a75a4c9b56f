"""Values of other libraries, as NumPy arrays or lists.

None of these libraries is imported here: whoever has such a value has imported them already.

    torch tensor            array over its memory; bfloat16 and the 8-bit floats by ml_dtypes
    pandas, polars, Arrow   numeric columns as arrays, over their memory where there are no nulls and one chunk; text,
                            categories and the like as lists; lists of numbers as lists of arrays
    what has __array__, or  whatever NumPy makes of it (jax.Array, PIL image, h5py and zarr)
    __array_interface__

Nulls are errors in numeric columns: their libraries would make NaN of them, and floats of integers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

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
        return np.asarray(value)
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
    dtype = series.dtype
    base = str(dtype.base_type())
    if (dtype.is_numeric() and base != "Decimal") or base == "Boolean":
        if series.null_count():
            null = series.is_null().to_numpy()
            raise _nulls(null, "polars", "Say what is to stand there: .fill_null(value), or drop them: .drop_nulls()")
        return series.to_numpy()
    if base == "Array" and not series.null_count() and not series.explode().null_count():
        return series.to_numpy()
    if base == "List" and dtype.inner.is_numeric():
        return [None if item is None else _from_polars(item) for item in series]
    return series.to_list()


def _from_arrow(values: Any) -> Any:
    types = sys.modules["pyarrow"].types
    if isinstance(values, sys.modules["pyarrow"].Scalar):
        return values.as_py()
    if types.is_dictionary(values.type):
        return values.to_pylist()
    if _is_number(types, values.type):
        if values.null_count:
            null = values.is_null().to_numpy(zero_copy_only=False)
            raise _nulls(null, "Arrow", "Say what is to stand there: pyarrow.compute.fill_null(column, value)")
        return _numbers_of_arrow(values)
    if types.is_fixed_size_list(values.type) and _is_number(types, values.type.value_type) and not values.null_count:
        return np.asarray(_from_arrow(_one_chunk(values).flatten())).reshape(len(values), values.type.list_size)
    if (types.is_list(values.type) or types.is_large_list(values.type)) and _is_number(types, values.type.value_type):
        return [item for chunk in getattr(values, "chunks", [values]) for item in _lists_of_arrow(chunk)]
    return values.to_pylist()


def _is_number(types: Any, kind: Any) -> bool:
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _one_chunk(values: Any) -> Any:
    combined = values.combine_chunks() if hasattr(values, "combine_chunks") else values
    return combined.chunk(0) if hasattr(combined, "chunk") else combined


def _numbers_of_arrow(values: Any) -> np.ndarray:
    one = hasattr(values, "chunks")  # a ChunkedArray makes one array of its chunks itself
    return values.to_numpy() if one else values.to_numpy(zero_copy_only=False)


def _lists_of_arrow(values: Any) -> list[np.ndarray | None]:
    """Each list as an array over the column's memory."""
    if values.values.null_count and values.flatten().null_count:
        raise Unreadable("nulls within lists of numbers in an Arrow column", "Fill them before: pyarrow.compute")
    numbers, offsets = _numbers_of_arrow(values.values), values.offsets.to_numpy()
    null = values.is_null().to_numpy(zero_copy_only=False)
    return [None if null[n] else numbers[offsets[n] : offsets[n + 1]] for n in range(len(values))]


def _from_h5py(dataset: Any) -> list[Any]:
    h5py = sys.modules["h5py"]
    text = h5py.check_string_dtype(dataset.dtype)
    return list((dataset.asstr() if text is not None else dataset)[...])
