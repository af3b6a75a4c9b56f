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
