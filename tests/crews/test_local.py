"""``num_workers=0``: which work is done in the caller's thread, and which beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import MapBatch, MemorySource, Pipeline
from datarax_mp.crews.local import THREAD_BYTES
from datarax_mp.feed.feed import Feed

ROWS = 8
LARGE = np.arange(64 * (THREAD_BYTES // ROWS // 8), dtype=np.int64).reshape(64, -1)
SMALL = LARGE[:, :2].copy()


def make(source: Any, *stages: Any) -> Pipeline:
    return Pipeline(source=source, batch_size=ROWS, stages=stages, output="numpy")


Threads = Callable[[], list[str]]


@pytest.fixture
def threads() -> Threads:
    """Names of this package's threads that have begun in the test; those of earlier ones end when they like."""
    before = set(threading.enumerate())
    return lambda: [t.name for t in set(threading.enumerate()) - before if t.name.startswith("datarax_mp")]


def test_rows_of_large_arrays_are_copied_by_a_thread_that_ends_with_the_epoch(threads: Threads) -> None:
    with make(LARGE) as pipeline:
        for _ in range(2):
            iterator = iter(pipeline)
            batches = [next(iterator)]
            assert threads() == ["datarax_mp gather"]
            batches += iterator
            assert threads() == []
            assert np.array_equal(np.concatenate([batch["value"] for batch in batches]), LARGE)


@pytest.mark.parametrize("end", ["break", "close", "drop", "interrupt"])
def test_the_thread_ends_however_the_epoch_ends(end: str, monkeypatch: pytest.MonkeyPatch, threads: Threads) -> None:
    pipeline = make(LARGE)
    iterator = iter(pipeline)
    first = next(iterator)
    assert threads() == ["datarax_mp gather"]
    if end == "close":
        pipeline.close()
    elif end == "interrupt":

        def interrupted(*_: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(Feed, "next_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(iterator)
    else:
        del iterator
    assert threads() == []
    assert np.array_equal(first["value"], LARGE[:ROWS])
    pipeline.close()


def test_small_batches_are_made_without_a_thread(threads: Threads) -> None:
    with make(SMALL) as pipeline:
        iterator = iter(pipeline)
        next(iterator)
        assert threads() == []


@pytest.mark.parametrize("batched", [False, True])
def test_the_user_s_code_runs_in_the_caller_s_thread(batched: bool) -> None:
    seen = set()

    def stage(record: dict[str, Any]) -> dict[str, Any]:
        seen.add(threading.current_thread())
        return record

    with make(LARGE, MapBatch(stage) if batched else stage) as pipeline:
        list(pipeline)
    assert seen == {threading.current_thread()}


def test_what_the_thread_raises_arrives_in_the_caller(monkeypatch: pytest.MonkeyPatch, threads: Threads) -> None:
    copy = MemorySource.read_into

    def breaks(source: MemorySource, numbers: Any, out: Any) -> Any:
        if 3 * ROWS in numbers:
            raise OSError("the disk is gone")
        return copy(source, numbers, out)

    monkeypatch.setattr(MemorySource, "read_into", breaks)
    with make(LARGE) as pipeline:
        iterator = iter(pipeline)
        assert next(iterator)["value"][0, 0] == 0
        with pytest.raises(OSError, match="the disk is gone"):
            list(iterator)
    assert threads() == []
