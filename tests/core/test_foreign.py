"""Values of other libraries: the numbers that they hold, over their memory where it allows, or a clear error."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO
from PIL import Image

from datarax_mp.core.foreign import Unreadable, as_plain
from datarax_mp.core.values import read


def same(found: Any, expected: Any, dtype: Any) -> None:
    assert isinstance(found, np.ndarray)
    assert found.dtype == dtype
    assert found.tolist() == np.asarray(expected).tolist()


def test_jax_arrays_and_pictures_are_arrays() -> None:
    same(read(jnp.arange(3, dtype=jnp.int16)), [0, 1, 2], "int16")
    same(read(jnp.ones(2, jnp.bfloat16)), [1, 1], ml_dtypes.bfloat16)
    same(read(Image.new("RGB", (2, 1), (1, 2, 3))), [[[1, 2, 3], [1, 2, 3]]], "uint8")
    same(read([Image.new("L", (2, 1)), Image.new("L", (2, 1))]), np.zeros((2, 1, 2)), "uint8")


def test_what_their_library_refuses_says_why() -> None:
    with pytest.raises(Unreadable, match="key_data") as caught:
        read(jax.random.key(0))
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("sparse", [scipy.sparse.csr_matrix(np.eye(2)), BCOO.fromdense(jnp.eye(2))])
def test_sparse_arrays_are_an_error_that_says_how_to_make_them_dense(sparse: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        read(sparse)
    assert "dense: value.to" in caught.value.about("x")


def test_pandas_columns_are_arrays_or_lists() -> None:
    numbers = pd.Series([1, 2], index=[5, 6])
    assert np.shares_memory(as_plain(numbers), numbers.to_numpy())
    same(as_plain(pd.Series([1, 2], dtype="Int16")), [1, 2], "int16")
    same(as_plain(pd.Series([1.0, 2.0], dtype="float32[pyarrow]")), [1, 2], "float32")
    same(as_plain(pd.Series([True, False], dtype="boolean")), [True, False], "bool")
    same(as_plain(pd.Index([3, 4])), [3, 4], "int64")
    assert as_plain(pd.Series(["a", "b"])) == ["a", "b"]
    assert as_plain(pd.Series(["a", "b"], dtype=object)) == ["a", "b"]
    assert as_plain(pd.Series(["a", "b", "a"], dtype="category")) == ["a", "b", "a"]


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1.5, None, 3], dtype="Float32"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series([1, None], dtype="int8[pyarrow]"),
    ],
)
def test_nulls_in_a_numeric_series_are_an_error_that_names_the_first(series: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        read(series)
    assert "1 nulls in a numeric column of pandas (in record 101)" in caught.value.about("x", [100, 101, 102])
    assert "fillna" in caught.value.about("x")


def test_arrow_columns_are_arrays_or_lists() -> None:
    numbers = pa.array([1, 2, 3], pa.int16())
    assert as_plain(numbers).__array_interface__["data"][0] == numbers.buffers()[1].address
    same(as_plain(pa.chunked_array([[1, 2], [3]])), [1, 2, 3], "int64")
    same(as_plain(pa.array([True, False])), [True, False], "bool")
    same(as_plain(pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))), [[1, 2], [3, 4]], "float32")
    same(as_plain(pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int8(), 2))[1:]), [[3, 4], [5, 6]], "int8")
    lists = as_plain(
        pa.chunked_array([pa.array([[1, 2], []], pa.list_(pa.int8())), pa.array([[3]], pa.list_(pa.int8()))])
    )
    assert [item.tolist() for item in lists] == [[1, 2], [], [3]]
    assert {item.dtype for item in lists} == {np.dtype("int8")}
    sliced = as_plain(pa.array([[9], [1, 2], [3]], pa.list_(pa.int8()))[1:])
    assert [item.tolist() for item in sliced] == [[1, 2], [3]]
    assert as_plain(pa.array(["a", None])) == ["a", None]
    assert as_plain(pa.array(["a", "b", "a"]).dictionary_encode()) == ["a", "b", "a"]
    assert as_plain(pa.scalar(3)) == 3
    same(read(pa.scalar(3)), 3, "int64")


def test_what_is_cut_away_does_not_change_the_numbers_of_an_arrow_list() -> None:
    [numbers] = as_plain(pa.array([[1, None], [2**53 + 1]])[1:])
    same(numbers, [2**53 + 1], "int64")
    [flags] = as_plain(pa.array([[True, None], [False]])[1:])
    same(flags, [False], "bool")
    numbers, none = as_plain(pa.array([[None], [2**53 + 1, 3], None], pa.large_list(pa.int64()))[1:])
    same(numbers, [2**53 + 1, 3], "int64")
    assert none is None
    pair, none = as_plain(pa.array([[1, None], [3, 4], None], pa.list_(pa.int8(), 2))[1:])
    same(pair, [3, 4], "int8")
    assert none is None


def test_a_null_in_an_arrow_list_names_its_row() -> None:
    lists = pa.chunked_array([pa.array([[1], [2, 3]]), pa.array([None, [4], [], [5, None]], pa.list_(pa.int64()))])
    for values, row in ((lists, 5), (lists[3:], 2), (pa.array([[1, 2], [3, None]], pa.list_(pa.int8(), 2)), 1)):
        with pytest.raises(Unreadable, match="nulls within lists of numbers") as caught:
            as_plain(values)
        assert caught.value.position == row


def test_lists_of_lists_in_arrow_are_arrays_of_their_dtype_where_they_are_even() -> None:
    rows = [[[1, 2], [3, 4]], [[5, 6, 7]], [], [[], []], None]
    found = as_plain(pa.array([[[9]], *rows], pa.list_(pa.list_(pa.uint8())))[1:])
    assert [(one.dtype.name, one.shape) for one in found[:4]] == [
        ("uint8", (2, 2)),
        ("uint8", (1, 3)),
        ("uint8", (0,)),
        ("uint8", (2, 0)),
    ]
    assert found[0].tolist() == rows[0]
    assert found[4] is None
    same(read(pa.array([[[1], [2]], [[3], [4]]], pa.list_(pa.list_(pa.int16())))), [[[1], [2]], [[3], [4]]], "int16")
    deep = pa.list_(pa.list_(pa.float16(), 2))
    same(as_plain(pa.array([[[np.float16(1), np.float16(2)]]], deep))[0], [[1, 2]], "float16")
    assert as_plain(pa.array([[[1, 2], [3]], [None, [4]]])) == [[[1, 2], [3]], [None, [4]]]
    grid = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int8(), 2), 2))
    same(as_plain(grid[1:]), [[[5, 6], [7, 8]]], "int8")


def test_numbers_in_arrow_structs_keep_their_dtype() -> None:
    kind = pa.struct(
        {"x": pa.float32(), "ids": pa.list_(pa.int16()), "text": pa.string(), "in": pa.struct({"y": pa.uint8()})}
    )
    row = {"x": 0.5, "ids": [1, 2], "text": "a", "in": {"y": 3}}
    column = pa.chunked_array([pa.array([{**row, "x": 9}, row], kind), pa.array([None, {"text": "b"}], kind)])[1:]
    first, none, last = as_plain(column)
    same(read(first["x"]), 0.5, "float32")
    same(first["ids"], [1, 2], "int16")
    assert first["text"] == "a"
    same(read(first["in"]["y"]), 3, "uint8")
    assert none is None
    assert last == {"x": None, "ids": None, "text": "b", "in": None}


def test_rows_of_an_arrow_tensor_column_have_its_shape() -> None:
    tensors = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(tensors)
    for values, expected in (
        (column, tensors),
        (column[1:], tensors[1:]),
        (pa.chunked_array([column[:1], column[2:]]), tensors[[0, 2, 3]]),
    ):
        same(as_plain(values), expected, "uint8")
    swapped = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.uint8(), [2, 3], permutation=[1, 0]), column.storage
    )
    same(as_plain(swapped), swapped.to_numpy_ndarray(), "uint8")
    with_null = pa.ExtensionArray.from_storage(column.type, pa.array([[0] * 6, None], column.type.storage_type))
    there, none = as_plain(with_null)
    same(there, np.zeros((2, 3)), "uint8")
    assert none is None


@pytest.mark.parametrize("values", [pa.array([1, None]), pa.chunked_array([[1.0], [None]]), pa.array([True, None])])
def test_nulls_in_a_numeric_arrow_column_are_an_error(values: Any) -> None:
    with pytest.raises(Unreadable, match="1 nulls in a numeric column"):
        read(values)
    with pytest.raises(Unreadable, match="nulls"):
        read(pa.array([[1, None], [2]]))


def test_torch_tensors_are_arrays_over_their_memory() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(3.0)
    found = read(tensor)
    same(found, [0, 1, 2], "float32")
    found[0] = 7
    assert tensor[0] == 7
    same(read(torch.ones(2, requires_grad=True)), [1, 1], "float32")
    same(read(torch.tensor([1.5, -2], dtype=torch.bfloat16)), [1.5, -2], ml_dtypes.bfloat16)
    same(read(torch.tensor(1.5, dtype=torch.bfloat16)), 1.5, ml_dtypes.bfloat16)
    same(read(torch.tensor([1.5], dtype=torch.float8_e5m2)), [1.5], ml_dtypes.float8_e5m2)
    same(read(torch.tensor([1 + 2j]).conj()), [1 - 2j], "complex64")
    same(read(torch.nn.Parameter(torch.ones(1))), [1], "float32")
    same(read([torch.ones(2), torch.zeros(2, requires_grad=True)]), [[1, 1], [0, 0]], "float32")
    with pytest.raises(Unreadable, match="to_dense"):
        read(torch.eye(2).to_sparse())


def test_polars_columns_are_arrays_or_lists() -> None:
    pl = pytest.importorskip("polars")
    same(as_plain(pl.Series([1, 2], dtype=pl.Int16)), [1, 2], "int16")
    same(as_plain(pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int32, 2))), [[1, 2], [3, 4]], "int32")
    lists = as_plain(pl.Series([[1, 2], [3]], dtype=pl.List(pl.Int16)))
    assert [(item.dtype.name, item.tolist()) for item in lists] == [("int16", [1, 2]), ("int16", [3])]
    deep = as_plain(pl.Series([[[1, 2], [3, 4]], [[1], []], None], dtype=pl.List(pl.List(pl.UInt8))))
    same(deep[0], [[1, 2], [3, 4]], "uint8")
    assert deep[1:] == [[[1], []], None]
    kind = pl.Struct({"x": pl.Float32, "ids": pl.List(pl.Int16)})
    first, second = as_plain(pl.Series([{"x": 0.5, "ids": [1]}, {"x": None, "ids": None}], dtype=kind))
    same(read(first["x"]), 0.5, "float32")
    same(first["ids"], [1], "int16")
    assert second == {"x": None, "ids": None}
    assert as_plain(pl.Series(["a", None])) == ["a", None]
    assert as_plain(pl.Series(["a", "b"], dtype=pl.Categorical)) == ["a", "b"]
    for nulls in (pl.Series([1, None]), pl.Series([1.0, None]), pl.Series([True, None])):
        with pytest.raises(Unreadable, match="1 nulls in a numeric column of polars"):
            read(nulls)


def test_hdf5_and_zarr_arrays_are_read(tmp_path: Any) -> None:
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.arange(3)
        file["text"] = ["a", "bc"]
        same(read(file["x"]), [0, 1, 2], "int64")
        assert as_plain(file["text"]) == ["a", "bc"]
    same(read(zarr.array(np.arange(6, dtype=np.int8).reshape(3, 2))), [[0, 1], [2, 3], [4, 5]], "int8")
