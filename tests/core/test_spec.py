from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from datarax_mp.core.record import RecordError, split_record
from datarax_mp.core.spec import Layout, jax_dtype


def layout_of(record: Any, x64: bool | None = False) -> Layout:
    return Layout.of(record, number=0, batch_size=5, x64=x64)


@pytest.mark.parametrize(
    ("dtype", "narrow"),
    [("int64", "int32"), ("uint64", "uint32"), ("float64", "float32"), ("complex128", "complex64"), ("uint8", "uint8")],
)
def test_dtypes_become_what_jax_wants(dtype: str, narrow: str) -> None:
    assert jax_dtype(np.dtype(dtype), x64=False) == narrow
    assert jax_dtype(np.dtype(dtype), x64=True) == dtype
    assert layout_of({"x": np.zeros(1, dtype)}, x64=None).fields[0].dtype == dtype


def test_extension_dtypes_and_byte_orders() -> None:
    assert jax_dtype(np.dtype(ml_dtypes.bfloat16), x64=False) == ml_dtypes.bfloat16
    assert jax_dtype(np.dtype(">f4"), x64=False).isnative
    with pytest.raises(RecordError, match="field 'when'.*datetime64"):
        layout_of({"when": np.datetime64("2026-01-01")})


def test_leaves_begin_at_multiples_of_64_bytes() -> None:
    layout = layout_of({"a": np.zeros(3, np.uint8), "b": 1.0, "c": np.zeros((2, 2), np.int16)})
    assert [spec.offset for spec in layout.fields] == [0, 64, 128]
    assert layout.block_bytes == 192


def test_a_record_without_arrays_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"record 0: .*found only text.*tokenizer"):
        layout_of({"text": "hello"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": np.zeros(3)}, r"record 6, field 'y': expected an array .*found no such field"),
        ({"x": np.zeros(3), "y": "text"}, r"record 6, field 'y': expected an array .*found a str"),
        ({"x": np.zeros(3), "y": 1, "z": 2}, r"record 6, field 'z': expected the first record's fields"),
    ],
)
def test_other_names_than_the_first_records_are_an_error(record: Any, message: str) -> None:
    layout = layout_of({"x": np.zeros(3), "y": 1})
    arrays, info = split_record(record, 6)
    with pytest.raises(RecordError, match=message):
        layout.check_names(arrays, info, 6)


def test_a_narrowing_conversion_tells_which_rows_kept_their_values() -> None:
    spec = layout_of({"label": 5}).fields[0]
    out = np.zeros(3, np.int32)
    assert spec.convert(np.array([1, -2, 2**31 - 1]), out).all()
    assert out.tolist() == [1, -2, 2**31 - 1]
    assert spec.convert(np.array([1, 2, 2**31]), out).tolist() == [True, True, False]
    told = str(spec.misfit(np.array(2**31), 12))
    assert "record 12, field 'label'" in told
    assert "fits int32, found 2147483648" in told


def test_a_float_that_overflows_does_not_fit_and_infinities_stay() -> None:
    spec = layout_of({"x": np.zeros(2)}).fields[0]
    out = np.zeros((1, 2), np.float32)
    assert spec.convert(np.array([[np.inf, np.nan]]), out).all()
    assert np.isinf(out[0, 0])
    assert np.isnan(out[0, 1])
    assert not spec.convert(np.array([[1.0, 1e300]]), out).any()
    assert "found 1e+300" in str(spec.misfit(np.array([1.0, 1e300]), 4))
