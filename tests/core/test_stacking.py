"""Elements whose values JAX's arrays do not hold."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datarax_mp.core.element_batch import Batch, Element


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.int64(2**40), f"fits int32, found {2**40} \\(int64\\).*jax_enable_x64"),
        (np.int64(-(2**31) - 1), f"fits int32, found {-(2**31) - 1} "),
        (np.uint64(2**32), f"fits uint32, found {2**32} "),
        (np.float64(1e300), r"fits float32, found 1e\+300 "),
        (np.complex128(1e300j), "fits complex64, found "),
        (2**40, f"fits int32, found {2**40} "),
        (np.array([[0, 2**40]]), f"fits int32, found {2**40} "),
    ],
    ids=str,
)
@pytest.mark.parametrize("validate", [False, True])
def test_a_value_that_does_not_fit_is_an_error(value: Any, message: str, validate: bool) -> None:
    fine = np.zeros_like(value) if isinstance(value, (np.ndarray, np.generic)) else 0
    with pytest.raises(OverflowError, match=f"element 1, field 'deep/id': expected a value that {message}"):
        Batch([Element({"x": 1, "deep": {"id": one}}) for one in (fine, value, fine)], validate=validate)
    with pytest.raises(OverflowError, match=f"element 1, state 'id': expected a value that {message}"):
        Batch([Element({"x": 1}, {"id": one}) for one in (fine, value)], validate=validate)


def test_beside_arrays_of_jax_too() -> None:
    elements = [Element({"id": one}) for one in (jnp.int32(1), np.int64(2**40))]
    with pytest.raises(OverflowError, match="element 1, field 'id'"):
        Batch(elements, validate=False)


def test_what_fits_is_narrowed_as_ever() -> None:
    values = {"id": np.int64(2**31 - 1), "x": np.array([np.inf, np.nan, 0.1]), "z": 1e-300, "flag": True}
    batch = Batch([Element(values)] * 2)
    assert [batch[name].dtype for name in values] == ["int32", "float32", "float32", "bool"]
    assert batch["id"].tolist() == [2**31 - 1] * 2
    assert np.array_equal(batch["x"][0], np.array([np.inf, np.nan, 0.1], np.float32), equal_nan=True)
    mixed = Batch([Element({"x": jnp.uint8(7)}), Element({"x": 3})], validate=False)
    assert mixed["x"].dtype == "uint8"


def test_with_64_bits_every_value_fits() -> None:
    with jax.enable_x64(True):
        batch = Batch([Element({"id": np.int64(2**40)})])
        assert batch["id"].tolist() == [2**40]


def test_elements_are_stacked_inside_of_a_trace() -> None:
    def double(x: Any) -> Any:
        return Batch([Element({"x": x, "n": np.int64(1)}), Element({"x": 2 * x, "n": np.int64(2)})])["x"]

    assert jax.jit(double)(jnp.float32(1)).tolist() == [1, 2]
