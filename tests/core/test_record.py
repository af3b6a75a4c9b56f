from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp.core.record import RecordError, flatten, nest, split_record


def test_a_record_divides_into_arrays_and_info() -> None:
    arrays, info = split_record({"a": np.zeros(2), "b": {"c": 1}, "t": "text", "n": None, "l": ["x", "y"]}, 0)
    assert set(arrays) == {("a",), ("b", "c")}
    assert set(info) == {("t",), ("n",), ("l",)}


@pytest.mark.parametrize("value", [3, 2.5, True, np.float32(1), np.zeros((2, 2)), [1, 2, 3]])
def test_numbers_and_lists_of_numbers_are_arrays(value: Any) -> None:
    arrays, info = split_record({"x": value}, 0)
    assert np.array_equal(arrays["x",], value)
    assert info == {}


def test_bare_arrays_and_scalars_are_the_field_value() -> None:
    assert list(split_record(np.zeros(3), 0)[0]) == [("value",)]
    assert list(split_record(7, 0)[0]) == [("value",)]


@pytest.mark.parametrize("record", [(1, 2), [1, 2], None, object(), {1}])
def test_any_other_record_is_an_error_that_says_what_to_return(record: Any) -> None:
    with pytest.raises(RecordError, match=rf"record 8: .*found {type(record).__name__}\. Return a dict"):
        split_record(record, 8)


def test_object_arrays_are_an_error_that_names_record_and_field() -> None:
    with pytest.raises(RecordError, match=r"record 3, field 'a/b'.*object array of shape \(2,\)"):
        split_record({"a": {"b": np.array([1, "x"], object)}}, 3)


def test_structured_arrays_are_an_error_that_names_their_fields() -> None:
    with pytest.raises(RecordError, match=r"\['p', 'q'\]"):
        split_record({"a": np.zeros(2, [("p", "f4"), ("q", "i4")])}, 0)


def test_field_names_must_be_text() -> None:
    with pytest.raises(RecordError, match="record 0: field names must be strings, found 1"):
        split_record({1: np.zeros(2)}, 0)


def test_nesting_and_flattening_are_inverse() -> None:
    tree = {"a": 1, "b": {"c": 2, "d": {"e": 3}}}
    assert nest(flatten(tree)) == tree
