"""What a value is: an array of numbers, something else, or an error."""

from __future__ import annotations

import array
import datetime
import decimal
from typing import Any

import numpy as np
import pytest

from datarax_mp.core.foreign import Unreadable
from datarax_mp.core.values import read
from tests.shown import shown


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (3, "int64", 3),
        (True, "bool", True),
        (2**63, "uint64", 2**63),
        (np.float32(1.5), "float32", 1.5),
        ([1, 2.5], "float64", [1, 2.5]),
        ([[1, 2], (3, 4)], "int64", [[1, 2], [3, 4]]),
        ([], "float64", []),
        ([[], []], "float64", [[], []]),
        ([np.float32(1), np.float32(2)], "float32", [1, 2]),
        ([np.arange(2), np.arange(2)], "int64", [[0, 1], [0, 1]]),
        ([[np.arange(2)], [np.arange(2)]], "int64", [[[0, 1]], [[0, 1]]]),
        (range(3), "int64", [0, 1, 2]),
        (array.array("f", [1, 2]), "float32", [1, 2]),
        (memoryview(array.array("i", [1, 2])), "int32", [1, 2]),
        (memoryview(np.zeros((2, 2), np.uint8)), "uint8", [[0, 0], [0, 0]]),
        (np.ma.array([1, 2], mask=[False, False]), "int64", [1, 2]),
        (np.matrix([[1, 2]]), "int64", [[1, 2]]),
        (np.array(5, ">i4"), ">i4", 5),
    ],
)
def test_numbers_are_arrays(value: Any, dtype: str, expected: Any) -> None:
    found = read(value)
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        b"raw",
        bytearray(b"raw"),
        memoryview(b"raw"),
        np.str_("text"),
        np.array(["a", "b"]),
        np.array(["a", "b"], np.dtypes.StringDType()),
        np.void(b"raw"),
        ["a", "b"],
        [b"a", b"b"],
        [bytearray(b"ab"), bytearray(b"cd")],
        [memoryview(b"ab"), memoryview(b"cd")],
        ["a", 2],
        ["a", None],
        [None],
        [[1], [2, 3]],
        [1, [2]],
        [np.arange(2), np.arange(3)],
        [{"a": 1}],
        {1, 2},
        datetime.datetime(2026, 1, 1),
        decimal.Decimal("1.5"),
        [decimal.Decimal("1.5")],
        object(),
    ],
    ids=shown,
)
def test_text_bytes_and_objects_are_no_arrays(value: Any) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    ("value", "found", "remedy"),
    [
        (np.ma.array([1, 2, 3], mask=[0, 1, 0]), "a masked array with 1 masked values (at position 1)", ".filled("),
        (np.ma.masked, "masked array", ".filled("),
        ([np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2])], "masked array", ".filled("),
        ([1, None, 3], "None among numbers (at position 1)", "Put a number there"),
        ([[1, 2], [None, 3]], "None among numbers", "Put a number there"),
        ([1.0, np.ma.masked], "among numbers (at position 1)", "Put a number there"),
        (np.array([1, "x"], object), "an object array of shape (2,)", "numeric dtype"),
        (np.zeros(2, [("p", "f4"), ("q", "O")]), "the structured dtype", "['p', 'q']"),
        (2**70, "an int of 71 bits", "NumPy and JAX hold 64"),
        ([2**70], f"a list with {2**70}", "as a NumPy array"),
        ([2**63, -1], f"a list with {2**63}", "as a NumPy array"),
        ([np.uint64(2**63), -1], f"a list with {2**63}", "as a NumPy array"),
    ],
    ids=shown,
)
def test_what_cannot_become_numbers_without_loss_is_an_error(value: Any, found: str, remedy: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(value)
    told = caught.value.about("record 3, field 'x'")
    assert told.startswith("record 3, field 'x': expected numbers, found ")
    assert found in told
    assert remedy in told
