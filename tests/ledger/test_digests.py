"""What a step's digest depends on: every byte, dtype, shape and record number, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from xxhash import xxh3_64_intdigest

from datarax_mp.core.spec import Layout
from datarax_mp.ledger.digests import FIELDS, Digester, row_hashes
from datarax_mp.ledger.objects import as_bytes
from datarax_mp.order.hashing import mix64

DTYPES = ["uint8", "bool", "float16", "int32", "float64", "complex128", "datetime64[ns]", "S3"]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_one_flipped_byte_changes_the_hash_of_its_row_alone(dtype: str, data: Any) -> None:
    shape = data.draw(array_shapes(min_dims=1, max_dims=3, max_side=5))
    array = np.zeros(shape, dtype)
    before = row_hashes(array)
    flat = array.reshape(-1).view(np.uint8)
    at = data.draw(st.integers(0, len(flat) - 1))
    flat[at] ^= data.draw(st.integers(1, 255))
    assert np.flatnonzero(row_hashes(array) != before).tolist() == [at * shape[0] // len(flat)]


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=3, max_side=6)))
def test_a_row_has_the_same_hash_wherever_it_lies(array: np.ndarray) -> None:
    assert row_hashes(array[::-1].copy()).tolist() == row_hashes(array)[::-1].tolist()
    padded = np.zeros(array.nbytes + 5, np.uint8)
    elsewhere = padded[5:].view()
    elsewhere[:] = array.reshape(-1).view(np.uint8)
    assert row_hashes(np.ndarray(array.shape, array.dtype, padded, 5)).tolist() == row_hashes(array).tolist()


def test_dtype_and_shape_count() -> None:
    zeros = [
        np.zeros((2, 2), "float32"),
        np.zeros((2, 2), "int32"),
        np.zeros((2, 1), "float64"),
        np.zeros((2, 1, 2), "i4"),
    ]
    zeros += [np.zeros((2, 0)), np.zeros((2, 0, 3)), np.zeros(2, "int64")]
    assert len({int(row_hashes(array)[0]) for array in zeros}) == len(zeros)


def test_hashes_stay_as_they_are_in_later_versions() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    seed = xxh3_64_intdigest(b"int32(3,)")
    assert row_hashes(array).tolist() == [xxh3_64_intdigest(row.tobytes(), seed) for row in array]
    seed = xxh3_64_intdigest(b"uint8()")
    assert row_hashes(np.arange(2, dtype=np.uint8)).tolist() == [mix64(number ^ seed) for number in range(2)]


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**63 - 1)), min_size=1, max_size=9))
def test_sums_are_those_of_the_package(rows: list[tuple[int, int]]) -> None:
    numbers, values = (np.array(part) for part in zip(*rows, strict=True))
    layout = Layout.of({"x": np.int64(0)}, number=0, batch_size=9, x64=None)
    words = np.frombuffer(Digester(layout)([values], None, numbers), np.uint64).tolist()
    hashed = row_hashes(values).tolist()
    assert words[FIELDS] == sum(hashed) % 2**64
    assert words[FIELDS + 1] == sum(n * h for n, h in zip(numbers.tolist(), hashed, strict=True)) % 2**64


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Box:
    left: int
    labels: list[str]


class Inside:
    def __init__(self) -> None:
        self.me = [self]


VALUES: list[Any] = [
    None, True, 1, 1.0, "1", b"1", "", [], (), {}, ["a", "b"], ["ab"], [["a"], "b"], ("a", "b"), {"a": 1}, {"a": 2},
    {"b": 1}, {1, 2}, frozenset({1, 2}), np.arange(3), np.arange(3.0), np.float32(1), np.array(["a", None], object),
    np.array(["b", None], object), Colour.RED, Colour.BLUE, Box(1, ["x"]), Box(1, ["y"]), range(3), "\ud800", len,
    object, Inside(),
]  # fmt: skip


def test_values_that_are_no_arrays_are_told_apart() -> None:
    assert len({as_bytes(value) for value in VALUES}) == len(VALUES)


def test_equal_values_count_the_same_whichever_objects_they_are() -> None:
    one = "".join(["te", "xt"])
    assert as_bytes([one, one]) == as_bytes(["text", "".join(["te", "xt"])])
    assert as_bytes(Box(1, ["x"])) == as_bytes(Box(1, ["x"]))
    assert as_bytes({"c", "a", "b"}) == as_bytes({"b", "a", "c"})
    assert as_bytes(lambda: 1) == as_bytes(lambda: 2)  # a function counts by its name


class Numbers:
    """An array of another library, whose attributes say nothing of what it holds."""

    def __init__(self, held: list[int]) -> None:
        self.shape, self._held = (len(held),), lambda: held

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self._held(), dtype)


def test_what_numpy_can_read_counts_by_that() -> None:
    assert as_bytes(["a", Numbers([1])]) == as_bytes(["a", Numbers([1])])
    assert as_bytes(["a", Numbers([1])]) != as_bytes(["a", Numbers([2])])
