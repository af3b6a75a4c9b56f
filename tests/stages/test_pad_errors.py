"""What Pad refuses, and what is said about records of unequal length without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import DeviceStage, MapBatch, Pad, Pipeline, RecordError
from datarax_mp.stages.split import split_stages

both = pytest.mark.parametrize("workers", [0, 2])


@both
@pytest.mark.parametrize(
    ("record", "stage", "message"),
    [
        ({"x": 3}, Pad("x", 4), r"field 'x': expected an array for Pad\('x'\) to pad.*found a scalar of dtype int64"),
        ({"x": "text"}, Pad("x", 4), "field 'x': expected an array.*found str"),
        ({"y": np.ones(2)}, Pad("x", 4), r"field 'x': expected an array.*found no such field among \['y'\]"),
        ({"x": np.ones(2), "m": 1}, Pad("x", 4, mask="m"), "field 'm': expected no such field.*Choose another name"),
        ({"x": np.ones(2), "m": {"a": 1}}, Pad("x", 4, mask="m"), "field 'm': expected no such field"),
        ({"x": np.ones(2), "m": 1}, Pad("x", 4, lengths="m/a"), "field 'm/a': expected no such field"),
        (
            {"x": np.ones(2, np.uint8)},
            Pad("x", 4, value=-1),
            "field 'x': expected a value of Pad that fits uint8, found -1",
        ),
        ({"x": np.ones(2, int)}, Pad("x", 4, value=0.5), "that fits int64, found 0.5"),
        ({"x": np.ones(2, int)}, Pad("x", 4, value=2**40), f"that fits int32, found {2**40}"),
        ({"x": np.ones(2)}, Pad("x", 4, value=1j), "that fits float64, found 1j"),
        (
            {"x": np.ones(2), "y": np.ones(3)},
            Pad(("x", "y"), 4),
            "field 'y': expected length 2 like field 'x'.*found 3",
        ),
    ],
)
def test_a_record_that_cannot_be_padded_is_an_error(workers: int, record: Any, stage: Pad, message: str) -> None:
    with (
        Pipeline(source=[record] * 4, batch_size=2, num_workers=workers, stages=[stage]) as pipeline,
        pytest.raises(RecordError, match=f"record 0, {message}" if message.startswith("field") else message),
    ):
        list(pipeline)


@both
@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"x": np.ones((2, 4))},
            r"record 3, field 'x': expected shape \(n, 3\) with n up to 5, found \(2, 4\).*resize",
        ),
        ({"x": np.ones(3)}, r"record 3, field 'x': expected shape \(n, 3\)"),
        ({"x": np.ones((2, 3), complex)}, "record 3, field 'x': expected dtype float64"),
        ({"x": np.ones((2, 3)), "y": 1}, r"record 3, field 'y': expected the first record's fields \['x'\]"),
        ({"x": np.ones((2, 3)), "m": True}, "record 3, field 'm': expected no such field"),
        ({"x": np.ones((6, 3))}, "record 3, field 'x': expected a length of at most 5"),
    ],
)
def test_a_later_record_that_differs_is_named(workers: int, record: Any, message: str) -> None:
    source = [{"x": np.ones((n, 3))} for n in (5, 2, 0)] + [record]
    with (
        Pipeline(source=source, batch_size=2, num_workers=workers, stages=[Pad("x", 5, mask="m")]) as pipeline,
        pytest.raises(RecordError, match=message),
    ):
        list(pipeline)


@both
def test_records_of_unequal_length_without_pad_are_an_error_that_names_it(workers: int) -> None:
    records = [{"text": {"tokens": np.arange(3 + number)}} for number in range(5)]
    columns = {"text": {"tokens": [record["text"]["tokens"] for record in records]}}
    for source in (records, columns):
        with (
            Pipeline(source=source, batch_size=2, num_workers=workers) as pipeline,
            pytest.raises(
                RecordError,
                match=r"record 1, field 'text/tokens': expected shape \(3,\) as in the first record, found \(4,\)\. .*"
                r"add the stage Pad\('text/tokens', length=N\).*to='longest'",
            ),
        ):
            list(pipeline)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"field": ()}, ValueError, "no field"),
        ({"field": 3}, TypeError, "expected field names such as 'tokens' or 'text/tokens', got 3"),
        ({"field": "a//b"}, TypeError, "got 'a//b'"),
        ({"length": 0}, ValueError, r"Pad\('x'\): length must be at least 1, got 0"),
        ({"length": 4.0}, TypeError, "length must be an int, got 4.0 of type float"),
        ({"to": "shortest"}, ValueError, "'fixed', 'longest' or a sequence of lengths, got 'shortest'"),
        ({"to": 4}, TypeError, "'fixed', 'longest' or a sequence of lengths, got 4"),
        ({"to": (4, 2)}, ValueError, r"must rise and end at length=8, got \(4, 2\)"),
        ({"to": (4, 9)}, ValueError, r"must rise and end at length=8, got \(4, 9\)"),
        ({"to": (0, 4)}, ValueError, "each length in to must be at least 1, got 0"),
        ({"value": "a"}, TypeError, "value must be a single number, got 'a'"),
        ({"value": [1]}, TypeError, "value must be a single number"),
        ({"value": None}, TypeError, "value must be a single number, got None"),
        ({"mask": "x"}, ValueError, "'x' would be padded or added twice"),
        ({"mask": "m", "lengths": "m"}, ValueError, "'m' would be padded or added twice"),
        ({"mask": "x/m"}, ValueError, "'x/m' would be padded or added twice, or lie within another"),
        ({"mask": True}, TypeError, "expected field names"),
        ({"truncate": 1}, TypeError, "truncate must be a bool"),
    ],
)
def test_wrong_arguments_are_an_error_at_once(arguments: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Pad(**{"field": "x", "length": 8, **arguments})


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [Pad("x", 4), lambda record: record],
            r"stages\[1\], MapElement.*takes single records but comes after Pad\('x'\), which makes a batch of them",
        ),
        (
            [MapBatch(lambda batch: batch), Pad("x", 4)],
            r"stages\[1\], Pad\('x'\), takes single records but comes after",
        ),
        ([DeviceStage(lambda batch: batch), Pad("x", 4)], r"stages\[1\], Pad\('x'\), runs on the host"),
        ([Pad("x", 4), Pad(("y", "x"), 4)], r"Pad\('y', 'x'\): the field 'x' would be padded or added twice"),
    ],
)
def test_pad_has_its_place_among_the_stages(stages: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_stages(stages)
