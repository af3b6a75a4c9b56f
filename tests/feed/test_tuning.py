"""How many workers there are, where nobody has said. The stream never depends on it."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.crews.processes.pool import pool
from datarax_mp.feed import tuning
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.pipeline import arguments
from tests.fakes import FakeClock
from tests.processes import workers

AUTO: dict[str, Any] = {"num_workers": "auto", "workers": "processes"}  # which are counted here


def run(
    tuner: WorkerTuner, clock: FakeClock, *, worker: float, caller: float, batches: int, most_useful: int = 99
) -> int:
    """A caller who takes ``caller`` seconds for a batch, and workers who take ``worker`` seconds each."""
    for _ in range(batches):
        made_every = worker / min(tuner.workers, most_useful)
        clock.now += max(made_every, caller)
        tuner.observe(max(0.0, made_every - caller), 1)
    return tuner.workers


@pytest.mark.parametrize(
    ("worker", "caller", "found"),
    [(0.010, 0.020, 1), (0.020, 0.010, 2), (0.080, 0.021, 4), (0.070, 0.010, 7), (1.0, 0.001, 16), (3.0, 2.9, 1)],
)
def test_there_are_as_many_workers_as_the_caller_needs(worker: float, caller: float, found: int) -> None:
    clock = FakeClock()
    assert run(WorkerTuner(16, clock), clock, worker=worker, caller=caller, batches=2000) == found


def test_a_slow_first_step_decides_nothing() -> None:
    clock = FakeClock()
    tuner = WorkerTuner(8, clock)
    clock.now += 30  # it is being compiled
    tuner.observe(0.0, 1)
    assert run(tuner, clock, worker=0.04, caller=0.01, batches=500) == 4


def test_more_workers_that_do_not_help_are_not_followed_by_still_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "datarax_mp")
    clock = FakeClock()
    assert run(WorkerTuner(16, clock), clock, worker=1.0, caller=0.001, batches=2000, most_useful=1) == 2
    assert "it stays at 2 workers; more do not help" in caplog.text


def test_workers_are_added_while_the_caller_waits_and_the_stream_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(record: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.01)  # the work; nothing is waited for
        return record

    caplog.set_level(logging.INFO, "datarax_mp")
    monkeypatch.setattr(arguments, "usable_cores", lambda: 3)
    monkeypatch.setattr(tuning, "_GAIN", 0.0)  # whether more help, on however busy a machine, is asked above
    pool().close()
    source = np.arange(200)
    with Pipeline(source=source, stages=[slow], batch_size=4, output="numpy", **AUTO) as pipeline:
        first = [batch["value"].tolist() for batch in pipeline]
        iterator = iter(pipeline)
        assert len(workers()) == 3
        second = [batch["value"].tolist() for batch in iterator]
    assert first == second == source.reshape(-1, 4).tolist()
    assert "num_workers='auto': 2 workers from now on, because the caller waited" in caplog.text
    assert "it stays at 3 workers; the process may use 3 cores" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"num_workers": "all"}, TypeError, "num_workers must be an int or 'auto', got 'all'"),
        ({"memory_budget": "1GB"}, TypeError, "memory_budget must be an int, got '1GB'"),
        ({"memory_budget": 0}, ValueError, "memory_budget must be at least 1"),
    ],
)
def test_automatic_choices_that_make_no_sense_are_an_error(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Pipeline(source=[1], batch_size=1, **wrong)
