"""Integers keep their digits: no float is made of them that does not hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import MapBatch, Pipeline, RecordError
from datarax_mp.core.foreign import Unreadable
from datarax_mp.core.values import read
from tests.ways import WAYS, ways

ODD = 2**60 + 1  # no float64
ROUNDED = "expected a value that {} holds, the dtype of the first record, found {} "


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([np.uint64(ODD), np.int64(1)], [ODD, 1]),
        ([-1, np.uint64(ODD)], [-1, ODD]),
        ([[np.int8(-1)], [np.uint64(ODD)]], [[-1], [ODD]]),
        ([np.uint64(1), np.bool_(True), -1], [1, 1, -1]),
        ([np.uint64(1), -(2**63)], [1, -(2**63)]),
        ([np.array([ODD], np.uint64), np.array([-1])], [[ODD], [-1]]),
        ([np.zeros(0, np.uint64), np.zeros(0, np.int64)], [[], []]),
    ],
)
def test_integers_of_several_types_are_int64(value: Any, expected: Any) -> None:
    found = read(value)
    assert found is not None
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([np.uint64(2**63), np.int64(1)], f"a list with {2**63}, which no integer type of 64 bits holds beside"),
        ([np.array([1, 2**63], np.uint64), np.array([1, -1])], f"a list of arrays with {2**63}, which no integer"),
    ],
)
def test_those_that_no_type_holds_beside_each_other_are_an_error(value: Any, message: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(value)
    assert message in caught.value.about("record 0, field 'x'")


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([np.uint64(2**63), np.uint64(1)], "uint64"),
        ([np.uint64(2**63), np.uint8(1)], "uint64"),
        ([np.int64(1), 0.5], "float64"),
        ([np.uint64(1), np.float32(0.5)], "float64"),
        ([np.arange(2), np.zeros(2)], "float64"),
        ([], "float64"),
    ],
)
def test_where_numpy_loses_nothing_its_dtype_stays(value: Any, dtype: str) -> None:
    found = read(value)
    assert found is not None
    assert found.dtype == dtype


class Source:
    def __init__(self, *values: Any) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": self.values[number]}


@ways
@pytest.mark.parametrize(
    ("first", "value"),
    [
        (0.5, 2**53 + 1),
        (0.5, -(2**53) - 1),
        (0.5, np.int64(2**63 - 1)),
        (0.5, np.uint64(2**64 - 1)),
        (0.5j, 2**53 + 1),
        ([0.5, 1.5], [1, 2**53 + 1]),
        (np.zeros((1, 2)), np.array([[0, -(2**63) + 1]])),
    ],
)
def test_an_integer_that_would_lose_digits_in_a_field_of_floats_is_an_error(first: Any, value: Any, way: str) -> None:
    match = f"record 2, field 'x': {ROUNDED.format(np.asarray(first).dtype, np.asarray(value).reshape(-1)[-1])}"
    with (
        Pipeline(source=Source(first, first, value), batch_size=3, output="numpy", **WAYS[way]) as pipeline,
        pytest.raises(RecordError, match=match),
    ):
        list(pipeline)


@ways
def test_an_integer_that_a_float_holds_is_one(way: str) -> None:
    values = [0.5, 7, 2**53, -(2**53), 2**60, np.int64(-(2**63)), np.uint64(2**63), np.int32(-3), np.uint8(255), True]
    with Pipeline(source=Source(*values), batch_size=16, output="numpy", **WAYS[way]) as pipeline:
        [batch] = pipeline
    assert batch["x"].dtype == np.float64
    assert batch["x"].tolist() == list(map(float, values))


def test_it_can_be_skipped() -> None:
    source = Source(0.5, 2**53 + 1, 2)
    with Pipeline(source=source, batch_size=3, output="numpy", on_error="skip") as pipeline:
        [batch] = pipeline
        assert batch["x"].tolist() == [0.5, 2]
        assert [skip.record for skip in pipeline.skips] == [1]


def test_a_stage_for_batches_that_gives_one_is_an_error_that_names_the_record() -> None:
    def change(batch: dict[str, Any]) -> dict[str, Any]:
        return {"x": batch["x"] / 2 if batch["x"][0] == 0 else batch["x"]}

    values = [0, 0, 1, 2**53 + 1]
    with (
        Pipeline(source=Source(*values), batch_size=2, stages=[MapBatch(change)], output="numpy") as pipeline,
        pytest.raises(RecordError, match=f"record 3, field 'x': {ROUNDED.format('float64', 2**53 + 1)}"),
    ):
        list(pipeline)
