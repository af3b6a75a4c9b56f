from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import Filter, MemorySource, MemorySourceConfig, Pipeline, RecordError, WindowSource


def begins(source: WindowSource) -> list[int]:
    return [int(source[n]["tokens"][0]) for n in range(len(source))]


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 12))
def test_windows_are_a_stride_apart_and_whole(rows: int, length: int, stride: int) -> None:
    expected = list(range(0, rows - length + 1, stride))
    if not expected:
        with pytest.raises(ValueError, match="there is not one window"):
            WindowSource(np.arange(rows), length, stride)
        return
    source = WindowSource(np.arange(rows), length, stride)
    assert begins(source) == expected
    assert {source[n]["tokens"].shape for n in range(len(source))} == {(length,)}
    together = source.__getitems__(list(range(len(source))))
    assert isinstance(together, dict)
    assert together["tokens"].tolist() == [list(range(begin, begin + length)) for begin in expected]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=8), st.integers(1, 6), st.integers(1, 6))
def test_no_window_crosses_from_one_sequence_into_the_next(lengths: list[int], length: int, stride: int) -> None:
    ends = np.cumsum(lengths)
    expected = [
        begin
        for end, size in zip(ends.tolist(), lengths, strict=True)
        for begin in range(end - size, end - length + 1, stride)
    ]
    if not expected:
        with pytest.raises(ValueError, match="each within a sequence"):
            WindowSource(np.arange(sum(lengths)), length, stride, lengths=lengths)
        return
    source = WindowSource(np.arange(sum(lengths)), length, stride, lengths=lengths)
    assert begins(source) == expected
    numbers = list(range(len(source)))[::-1]
    assert source.__getitems__(numbers)["tokens"][:, 0].tolist() == expected[::-1]  # type: ignore[call-overload]


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_of_a_file_in_worker_processes(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "tokens.bin"
    np.arange(1000, dtype=np.uint16).tofile(path)
    source = WindowSource(np.memmap(path, np.uint16, "r"), 17, 16)
    with Pipeline(source=source, batch_size=4, shuffle=True, seed=1, num_workers=workers, output="numpy") as pipeline:
        rows = [row for batch in pipeline for row in batch["tokens"]]
    assert rows[0].dtype == np.uint16
    assert all((np.diff(row) == 1).all() for row in rows)
    assert sorted(int(row[0]) for row in rows) == list(range(0, 1000 - 16, 16))


def test_records_of_a_source_are_put_together_field_by_field() -> None:
    frames = [{"image": np.full((2, 2), n), "time": {"at": n / 2}} for n in range(9)]
    source = WindowSource(frames, 3, 2, lengths=[5, 4])
    assert [source[n]["time"]["at"].tolist() for n in range(3)] == [[0, 0.5, 1], [1, 1.5, 2], [2.5, 3, 3.5]]
    assert source[1]["image"].shape == (3, 2, 2)
    columns = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(9)}, rngs=np.random.default_rng(0))
    clips = WindowSource(columns, 3)
    with Pipeline(source=clips, batch_size=3, output="numpy", num_workers=1) as pipeline:
        [batch] = pipeline
    assert sorted(batch["x"].tolist()) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [record["x"].tolist() for record in WindowSource({"x": np.arange(5)}, 2)] == [[0, 1], [2, 3]]
    assert WindowSource([1, 2, 3, 4], 2)[1]["value"].tolist() == [3, 4]


def test_records_that_cannot_be_put_together_are_an_error() -> None:
    with pytest.raises(RecordError, match="records 2 to 3 cannot be put together in a window"):
        WindowSource([{"x": 1}, {"x": 2}, {"x": 3}, {"y": 4}], 2)[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_windows_begin_elsewhere_in_every_epoch(workers: int) -> None:
    source = WindowSource(np.arange(103), 10, 10, random_offset=True)
    epochs = []
    with Pipeline(source=source, batch_size=4, shuffle=True, seed=3, num_workers=workers, output="numpy") as pipeline:
        for _ in range(8):
            epochs.append([int(row[0]) for batch in pipeline for row in batch["tokens"]])
    offsets = {min(epoch) for epoch in epochs}
    assert len(offsets) > 3
    for epoch in epochs:
        assert sorted(epoch) == list(range(min(epoch), min(epoch) + 90, 10))
    with Pipeline(source=source, batch_size=4, shuffle=True, seed=3, output="numpy") as pipeline:
        assert [int(row[0]) for batch in pipeline for row in batch["tokens"]] == epochs[0]


def test_filters_would_leave_epochs_of_different_length_where_windows_move() -> None:
    source = WindowSource(np.arange(100), 10, random_offset=True)
    stages = [Filter(lambda record: record["tokens"][0] % 2 == 0)]
    with (
        Pipeline(source=source, batch_size=4, seed=0, stages=stages, output="numpy") as pipeline,
        pytest.raises(ValueError, match="cannot be combined with Filter"),
    ):
        len(pipeline)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"length": 0}, ValueError, "length must be at least 1"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"length": 2.0}, TypeError, "length must be an int"),
        ({"length": 11}, ValueError, "not one window: 10 rows, length=11, stride=11"),
        ({"lengths": [3, 3]}, ValueError, "add up to the 10 rows, and make 6"),
        ({"lengths": [-1, 11]}, ValueError, "not be negative"),
        ({"lengths": [5.0, 5.0]}, TypeError, "lengths must be integers"),
        ({"lengths": [5, 5], "random_offset": True}, ValueError, "keep them in sequences"),
        ({"length": 4, "stride": 8, "random_offset": True}, ValueError, "not one window.*random_offset"),
    ],
)
def test_what_makes_no_windows_is_an_error(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        WindowSource(np.arange(10), **{"length": 3, **arguments})


def test_nulls_in_an_array_of_another_library_are_an_error_and_no_floats() -> None:
    whole = WindowSource(pa.chunked_array([[1, 2], [2**53 + 1]]), 3)[0]["tokens"]
    assert whole.dtype == np.int64
    assert whole.tolist() == [1, 2, 2**53 + 1]
    with pytest.raises(RecordError, match=r"WindowSource, field 'ids': expected numbers, found 1 nulls .*position 1\)"):
        WindowSource(pa.array([1, None, 3]), 3, field="ids")
    with pytest.raises(RecordError, match="1 nulls in a numeric column of pandas"):
        WindowSource(pd.Series([1, None], dtype="Int64"), 2)


class Pair(NamedTuple):
    at: int
    text: str


@dataclass
class Sample:
    at: int
    image: np.ndarray


def test_named_tuples_and_dataclasses_are_put_together_field_by_field() -> None:
    pairs = WindowSource([Pair(n, "text") for n in range(4)], 2)
    assert pairs[1]["at"].tolist() == [2, 3]
    samples = WindowSource([Sample(n, np.full(2, n)) for n in range(4)], 2)
    with Pipeline(source=samples, batch_size=2, output="numpy", num_workers=1) as pipeline:
        [batch] = pipeline
    assert sorted(batch) == ["at", "image"]
    assert batch["image"].tolist() == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
    within = WindowSource([{"of": Sample(n, np.full(2, n)), "pair": Pair(-n, "text")} for n in range(4)], 2)
    assert within[1]["of"]["image"].tolist() == [[2, 2], [3, 3]]
    assert within[1]["pair"]["at"].tolist() == [-2, -3]


@pytest.mark.parametrize("other", [{"x": 2, "y": 1}, {"y": 1}, {}])
def test_a_record_of_other_fields_is_an_error_and_nothing_is_left_out(other: dict[str, int]) -> None:
    with pytest.raises(RecordError) as raised:
        WindowSource([{"x": 1}, other], 2)[0]
    assert f"record 1 has the fields {list(other)}, not ['x']" in str(raised.value)


def test_numbers_of_several_dtypes_come_together_in_the_one_that_holds_them() -> None:
    window = WindowSource([{"x": 1, "y": "a"}, {"x": 2.5, "y": "bc"}, {"x": np.float32(3), "y": "d"}], 3)[0]
    assert window["x"].tolist() == [1, 2.5, 3]
    assert window["y"].tolist() == ["a", "bc", "d"]
