"""Workers that never come back: the time limit, and what close() does about them."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline, WorkerError, WorkerTimeoutError
from datarax_mp.crews.processes.pool import pool
from tests.processes import all_end, comes_true, lives, workers


# Record 8 begins step 2, and that begins a run: the two batches before it always come.
def never_returns(record: Any) -> Any:
    if int(record) == 8:
        time.sleep(1000)
    return {"n": record}


def in_c_code(record: Any) -> Any:
    if int(record) == 8:
        10 ** (10**9)  # holds the GIL for ever, as far as a test can tell
    return {"n": record}


def make(stage: Callable[[Any], Any], workers: int = 2, **more: Any) -> Pipeline:
    return Pipeline(source=np.arange(64), batch_size=4, num_workers=workers, stages=[stage], output="numpy", **more)


@pytest.fixture(autouse=True)
def all_workers_are_those_of_the_test() -> None:
    pool().close()


@pytest.mark.parametrize("stage", [never_returns, in_c_code])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_time_limit_names_the_worker_and_its_record_and_shows_its_stack(stage: Any, workers: int) -> None:
    with make(stage, workers, timeout=3.0) as pipeline:
        received = []
        with pytest.raises(WorkerTimeoutError) as caught:
            for batch in pipeline:
                received += batch["n"].tolist()
        assert received == list(range(8))
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, WorkerError)
        told = str(caught.value)
        assert re.search(r"no batch came within 3 s: worker \d+ \(pid \d+\) was ended while stage MapElement", told)
        assert f"MapElement({stage.__name__}) worked on record 8 (step 2 of epoch 0)" in told
        assert f"in {stage.__name__}" in told
        assert "most recent call first" in told
        assert pipeline.get_state()["step"] == 2
        assert next(iter(pipeline))["n"].tolist() == [0, 1, 2, 3]
        pipeline.close(timeout=0.1)


def test_the_time_limit_holds_for_the_first_record_too() -> None:
    class Hanging:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, number: int) -> Any:
            time.sleep(1000)

    with (
        Pipeline(source=Hanging(), batch_size=2, num_workers=2, timeout=3) as pipeline,
        pytest.raises(WorkerTimeoutError, match=r"while it read record 0 .*\n?.*stack") as caught,
    ):
        iter(pipeline)
    assert "in __getitem__" in str(caught.value)


def test_a_stopped_worker_is_a_matter_of_the_time_limit_too() -> None:
    with Pipeline(
        source=np.arange(4000), batch_size=2, num_workers=1, timeout=3, output="numpy", stages=[lambda r: {"n": r}]
    ) as pipeline:
        iterator = iter(pipeline)
        first = next(iterator)["n"].tolist()
        [worker] = workers()
        worker.suspend()
        with pytest.raises(WorkerTimeoutError, match="does not react to signals"):
            first += [n for batch in iterator for n in batch["n"].tolist()]
        assert first == list(range(len(first)))
        assert all_end([worker])
        assert len(list(pipeline)) == 2000


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    with make(lambda record: {"n": record}, timeout=100.0) as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(64))


@pytest.mark.parametrize("stage", [never_returns, in_c_code])
def test_close_ends_a_stuck_worker_when_its_deadline_is_over(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datarax_mp.crews.processes.pool.GRACE_SECONDS", 1000.0)  # it is not that which ends it
    pipeline = make(stage)
    iterator = iter(pipeline)
    kept = [next(iterator) for _ in range(2)]
    at_work = workers()
    began = time.monotonic()
    pipeline.close(timeout=3)
    pipeline.close()
    assert time.monotonic() - began < 60
    assert len(at_work) == 2
    assert comes_true(lambda: sum(map(lives, at_work)) == 1)  # the other one is warm
    assert [n for batch in kept for n in batch["n"].tolist()] == list(range(8))
    assert list(iterator) == []
    with pytest.raises(RuntimeError, match="closed"):
        iter(pipeline)


def test_close_waits_for_a_worker_that_is_only_busy_and_keeps_it(tmp_path: Any) -> None:
    def slow(record: Any) -> Any:
        if int(record) == 8:
            (tmp_path / "begun").touch()
            time.sleep(0.5)
            (tmp_path / "done").touch()
        return {"n": record}

    pipeline = make(slow, 1)
    iterator = iter(pipeline)
    next(iterator)
    next(iterator)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    at_work = workers()
    pipeline.close(timeout=20)
    assert (tmp_path / "done").exists()  # no code of the user's runs any more
    assert all(map(lives, at_work))


def test_a_dropped_pipeline_leaves_no_stuck_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datarax_mp.crews.processes.pool.GRACE_SECONDS", 0.2)
    pipeline = make(never_returns, 1)
    iterator = iter(pipeline)
    for _ in range(2):
        next(iterator)
    at_work = workers()
    del pipeline, iterator
    gc.collect()
    assert all_end(at_work)


def test_after_a_break_a_stuck_worker_is_replaced_and_the_next_epoch_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("datarax_mp.crews.processes.pool.GRACE_SECONDS", 0.2)

    def once(record: Any) -> Any:
        if int(record) == 8 and not (tmp_path / "was stuck").exists():
            (tmp_path / "was stuck").touch()
            time.sleep(1000)
        return {"n": record}

    with make(once, 1) as pipeline:
        for _ in zip(range(2), pipeline, strict=False):
            pass
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(64))
    assert caplog.messages == []  # nobody waited for it


@pytest.mark.parametrize("waiting", ["next", "iter"])
def test_close_from_another_thread_ends_a_wait(waiting: str, tmp_path: Any) -> None:
    def hangs(record: Any) -> Any:
        if waiting == "iter" or int(record) == 8:
            (tmp_path / "hangs").touch()
            time.sleep(1000)
        return {"n": record}

    pipeline = make(hangs, 1)
    outcome: list[Any] = []

    def loop() -> None:
        try:
            outcome.append([n for batch in pipeline for n in batch["n"].tolist()])
        except RuntimeError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=loop)
    thread.start()
    while not (tmp_path / "hangs").exists():
        time.sleep(0.01)
    at_work = workers()
    pipeline.close(timeout=0.3)
    thread.join(20)
    assert not thread.is_alive()
    if waiting == "iter":
        assert outcome == ["the iterator is closed"]
    else:
        assert outcome == [list(range(8))] or outcome == [[]]  # what stood ready is dropped
    assert all_end(at_work)


def test_close_in_the_middle_of_next_by_the_users_own_code_takes_effect_afterwards() -> None:
    pipelines: list[Pipeline] = []

    def closes(record: Any) -> Any:
        if int(record) == 10:
            pipelines[0].close()
        return {"n": record}

    pipelines.append(make(closes, 0))
    received = [n for batch in pipelines[0] for n in batch["n"].tolist()]
    assert received == list(range(len(received)))
    assert len(received) < 64


def test_closing_twice_at_once_from_many_threads_is_fine() -> None:
    pipeline = make(lambda record: {"n": record}, 2)
    iterator = iter(pipeline)
    next(iterator)
    threads = [threading.Thread(target=pipeline.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert list(iterator) == []
