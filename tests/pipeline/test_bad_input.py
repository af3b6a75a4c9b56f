"""Whatever is wrong is said early and clearly: what, where, expected, found, remedy."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from datarax_mp import DeviceStage, MapBatch, MemorySource, MemorySourceConfig, Pipeline, RecordError

GOOD = [{"x": np.zeros((2, 3), np.float32), "label": number} for number in range(20)]

both = pytest.mark.parametrize("workers", [0, 2])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": -3}, ValueError, "batch_size must be at least 1, got -3"),
        ({"batch_size": 2.0}, TypeError, r"batch_size must be an int, got 2\.0 of type float"),
        ({"batch_size": True}, TypeError, "batch_size must be an int, got True"),
        ({"batch_size": "8"}, TypeError, "batch_size must be an int, got '8' of type str"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0, got -1"),
        ({"num_workers": 1.5}, TypeError, "num_workers must be an int"),
        ({"prefetch_size": -1}, ValueError, "prefetch_size must be at least 0"),
        ({"output": "tf"}, ValueError, "'numpy' or 'torch', got 'tf'"),
        ({"drop_last": True, "pad_last": True}, ValueError, "drop_last and pad_last"),
        ({"output": "numpy", "stages": [DeviceStage(lambda batch: batch)]}, ValueError, "runs on the device"),
        ({"enforce_batch": False, "drop_last": True}, ValueError, "drop_last is about batches"),
        ({"enforce_batch": False, "stages": [MapBatch(lambda b: b)]}, ValueError, "MapBatch stage is about batches"),
        ({"shuffle": True}, ValueError, "shuffle=True needs rngs"),
        ({"source": []}, ValueError, "empty"),
        ({"source": "abc"}, TypeError, "str"),
        ({"source": iter([])}, TypeError, "lacks __len__"),
        ({"stages": [3]}, TypeError, r"stages\[0\] of type int is no stage"),
        (
            {"stages": [DeviceStage(lambda batch: batch), lambda record: record]},
            ValueError,
            r"stages\[1\].*runs on the host but comes after DeviceStage.*Put all host stages first",
        ),
        ({"stages": [MapBatch(lambda b: b), lambda r: r]}, ValueError, r"stages\[1\].*single records but comes after"),
        (
            {"rngs": 0.5, "shuffle": True},
            TypeError,
            r"rngs must be an nnx.Rngs or an np.random.Generator, .* not float",
        ),
    ],
)
def test_wrong_arguments_are_an_error_at_once(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Pipeline(**{"source": GOOD, "batch_size": 4, **wrong})


def test_a_shuffling_source_without_rngs_is_an_error_at_once() -> None:
    source = MemorySource(MemorySourceConfig(shuffle=True), GOOD)
    with pytest.raises(ValueError, match="needs rngs"):
        Pipeline(source=source, batch_size=4)


def with_record(number: int, record: Any) -> list[Any]:
    return [*GOOD[:number], record, *GOOD[number + 1 :]]


@both
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": np.zeros((2, 4), np.float32), "label": 1}, r"record 13, field 'x': expected shape \(2, 3\).*\(2, 4\)"),
        ({"x": np.zeros((2, 3)), "label": 1}, r"record 13, field 'x': expected dtype float32.*found float64"),
        ({"x": np.zeros((2, 3), np.float32)}, r"record 13, field 'label': expected an array.*found no such field"),
        ({**GOOD[0], "extra": 1}, r"record 13, field 'extra': expected the first record's fields \['label', 'x'\]"),
        ({**GOOD[0], "label": 1.5}, r"record 13, field 'label': expected dtype int64.*found float64"),
        ({**GOOD[0], "label": "one"}, r"record 13, field 'label': expected an array.*found a str"),
        (
            {**GOOD[0], "label": np.array([1, None])},
            r"record 13, field 'label': expected numbers, found an object array",
        ),
        ((1, 2), r"record 13: expected a mapping .* found tuple"),
        (None, r"record 13: expected a mapping .* found NoneType"),
    ],
)
def test_a_record_that_differs_is_named_after_the_batches_before_it(workers: int, record: Any, message: str) -> None:
    received = []
    with Pipeline(source=with_record(13, record), batch_size=4, num_workers=workers, output="numpy") as pipeline:
        iterator = iter(pipeline)
        with pytest.raises(RecordError, match=message):
            for batch in iterator:
                received.append(batch["label"].tolist())
        assert received == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        assert pipeline.get_state()["step"] == 3
        assert list(iterator) == []  # after the error the iterator has ended
        with pytest.raises(RecordError, match="record 13"):
            list(pipeline)  # and the pipeline can be iterated again


@both
def test_a_first_record_of_no_kind_is_an_error_before_the_first_batch(workers: int) -> None:
    for record, message in [((1, 2), "record 0"), ({"t": "text"}, "found only t"), (object(), "record 0.*object")]:
        with (
            Pipeline(source=[record] * 5, batch_size=2, num_workers=workers) as pipeline,
            pytest.raises(RecordError, match=message),
        ):
            iter(pipeline)


class Handle:
    """Holds something that does not pickle."""

    def __init__(self) -> None:
        self.settings = {"lock": threading.Lock()}

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> int:
        return number


def test_a_source_that_cannot_be_sent_is_an_error_that_names_the_attribute() -> None:
    with (
        Pipeline(source=Handle(), batch_size=2, num_workers=1) as pipeline,
        pytest.raises(
            TypeError, match=r"source \(Handle\)\.settings\['lock'\] cannot be sent .* type lock .*num_workers=0"
        ),
    ):
        iter(pipeline)
    with Pipeline(source=Handle(), batch_size=2) as pipeline:
        assert len(list(pipeline)) == 2


def test_a_stage_that_cannot_be_sent_is_an_error_that_names_the_variable() -> None:
    lock = threading.Lock()

    def stage(record: Any) -> Any:
        with lock:
            return record

    with (
        Pipeline(source=GOOD, batch_size=2, num_workers=1, stages=[stage]) as pipeline,
        pytest.raises(TypeError, match=r"stages\[0\].*variable 'lock' cannot be sent"),
    ):
        iter(pipeline)


class TooFew:
    """Returns fewer records than it was asked for."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, number: int) -> int:
        return number

    def __getitems__(self, numbers: list[int]) -> list[int]:
        return numbers[:1]


def test_a_source_that_returns_too_few_records_is_an_error() -> None:
    with (
        Pipeline(source=TooFew(), batch_size=3) as pipeline,
        pytest.raises(RecordError, match=r"asked for 3 records .* returned 1"),
    ):
        list(pipeline)


class ShortColumn(TooFew):
    """Returns fewer values of one field than it was asked for."""

    def __init__(self, column: Any) -> None:
        self.column = column

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        return {"x": np.array(numbers), "deep": {"y": self.column}}


@pytest.mark.parametrize(("column", "found"), [(np.ones(2), "2"), ([1, 2, 3, 4], "4"), (1.5, "no"), ("abc", "no")])
def test_a_source_that_returns_a_column_of_another_length_is_an_error(column: Any, found: str) -> None:
    with (
        Pipeline(source=ShortColumn(column), batch_size=3) as pipeline,
        pytest.raises(RecordError, match=rf"asked for . records .* returned {found} values of field 'deep/y'"),
    ):
        list(pipeline)


@both
def test_a_batch_stage_that_changes_the_number_of_rows_is_an_error(workers: int) -> None:
    shorten = MapBatch(lambda batch: {"x": batch["x"][:1]})
    with (
        Pipeline(source=GOOD, batch_size=4, stages=[shorten], num_workers=workers) as pipeline,
        pytest.raises(RecordError, match=r"field 'x': expected an array of 4 rows, found shape \(1, 2, 3\)"),
    ):
        list(pipeline)


def test_a_closed_pipeline_says_so() -> None:
    pipeline = Pipeline(source=GOOD, batch_size=4)
    pipeline.close()
    pipeline.close()
    with pytest.raises(RuntimeError, match="closed"):
        iter(pipeline)
