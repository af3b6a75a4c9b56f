"""What a user sees first of an error is the line of theirs that it comes from."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from datarax_mp import DeviceStage, MapBatch, Pipeline, RandomMapElement, RecordError
from datarax_mp.core.tracebacks import for_user, text_of, users_part, with_source

CELL = """def scale(record, *_):
    factor = record["x"] - 5
    return {"x": 10 // factor.item()}
"""
NAME = "<ipython-input-3-0123456789ab>"


@pytest.fixture
def scale() -> Iterator[Any]:
    """A function of a notebook's cell: its source is known to this process, and to no other."""
    linecache.cache[NAME] = len(CELL), None, CELL.splitlines(keepends=True), NAME
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(CELL, NAME, "exec"), names)
    yield names["scale"]
    del linecache.cache[NAME]


def failing(**more: Any) -> tuple[Exception, list[str]]:
    """What is raised, and the files of the frames that its traceback shows, after the one of the loop."""
    more = {"source": {"x": np.arange(20)}, "batch_size": 4, **more}
    with Pipeline(**more) as pipeline, pytest.raises(Exception) as caught:  # noqa: PT011
        for _ in pipeline:
            pass
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[0].filename == __file__
    return caught.value, [frame.filename for frame in frames[1:]]


@pytest.mark.parametrize("kind", [lambda fn: fn, RandomMapElement], ids=["map", "random"])
def test_a_worker_s_traceback_begins_with_the_user_s_line(scale: Any, kind: Any) -> None:
    error, frames = failing(stages=[kind(scale)], num_workers=1, seed=0)
    lines = str(error.__cause__).strip().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].strip() == f'File "{NAME}", line 3, in scale'
    assert lines[2] == '    return {"x": 10 // factor.item()}'
    assert lines[3].startswith("ZeroDivisionError")
    assert len(frames) <= 2  # how the iterator raises it


@pytest.mark.parametrize("place", ["first record", "later"])
def test_without_workers_the_user_s_frame_follows_the_loop_s(scale: Any, place: str) -> None:
    source = {"x": np.arange(20) + 5 * (place == "first record")}
    error, frames = failing(source=source, stages=[scale])
    assert type(error) is ZeroDivisionError
    assert frames[-1] == NAME
    assert len(frames) <= 3


def test_stages_for_batches_and_for_the_device_show_the_user_s_line_too() -> None:
    def fail(batch: Any) -> Any:
        raise KeyError("field")

    for stage in (MapBatch(fail), DeviceStage(fail)):
        error, frames = failing(stages=[stage])
        assert frames[-1] == __file__
        assert not [name for name in frames[2:] if "datarax_mp/pipeline" in name or "datarax_mp/recipe" in name], error


def test_a_first_record_that_fails_in_a_worker_shows_few_frames_of_ours(scale: Any) -> None:
    error, frames = failing(source={"x": np.arange(20) + 5}, stages=[scale], num_workers=1)
    assert len(frames) <= 2
    assert str(error.__cause__).strip().splitlines()[1].strip() == f'File "{NAME}", line 3, in scale'


def test_an_error_of_ours_shows_few_frames_of_ours() -> None:
    def grow(record: Any) -> Any:
        return {"x": np.zeros(1 + (record["x"] > 5))}

    for workers in (0, 1):
        error, frames = failing(stages=[grow], num_workers=workers)
        assert type(error) is RecordError
        assert len(frames) <= 2
        if workers:
            assert "File" not in str(error.__cause__)
            assert "record 6" in str(error.__cause__)


def test_lines_that_are_there_are_left_as_they_are() -> None:
    def outer() -> None:
        try:
            inner()
        except ValueError as error:
            raise KeyError("outer") from error

    def inner() -> None:
        raise ExceptionGroup("several", [ValueError("one"), TypeError("other")])

    for function in (outer, inner):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            function()
        at, text = caught.value.__traceback__, text_of(caught.value)
        assert with_source(text) == text == "".join(traceback.format_exception(caught.value))
        assert for_user(caught.value).__traceback__ is users_part(at) is at
    assert with_source('  File "/no/such/file.py", line 3, in f\nValueError') == (
        '  File "/no/such/file.py", line 3, in f\nValueError'
    )
    assert with_source("") == ""
