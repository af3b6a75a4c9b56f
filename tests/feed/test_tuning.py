"""Automatic choices: how many workers, and how much memory. The stream never depends on them."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.feed.ring_plan import plan_ring
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.pipeline import arguments
from tests.fakes import FakeClock


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
    source = np.arange(200)
    with Pipeline(source=source, stages=[slow], batch_size=4, num_workers="auto", output="numpy") as pipeline:
        first = [batch["value"].tolist() for batch in pipeline]
        iterator = iter(pipeline)
        assert len(iterator._work.crew.workers) == 3
        second = [batch["value"].tolist() for batch in iterator]
    assert first == second == source.reshape(-1, 4).tolist()
    assert "num_workers='auto': 2 workers from now on, because the caller waited" in caplog.text
    assert "it stays at 3 workers; the process may use 3 cores" in caplog.text


def test_a_plan_keeps_to_its_budget_and_shortens_runs_first() -> None:
    small: dict[str, Any] = {"block_bytes": 9216, "workers": 2, "prefetch_size": 2, "run_steps": None}
    usual = plan_ring(**small, budget=None, strict=False)
    assert (usual.slots, usual.steps, usual.lendable) == (9, 64, 5)
    for budget in (6 * 12288, 200_000, 1_000_000, 10_000_000):
        plan = plan_ring(**small, budget=budget, strict=True)
        slot = -(-plan.steps * 9216 // 4096) * 4096
        assert plan.slots * slot <= budget
        assert plan.lendable < plan.slots
        assert plan.slots >= 6
    assert plan_ring(**small, budget=1_000_000, strict=True).steps == 12
    assert plan_ring(**small, budget=1 << 40, strict=True).slots == 21  # more would help nobody


def test_a_budget_sizes_the_ring(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "datarax_mp")
    source = np.arange(64 * 1_000_000 // 8).reshape(64, -1)  # batches of 4 MB
    streams = []
    for budget, slots in ((None, 9), (26_000_000, 6), (80_000_000, 19)):
        with Pipeline(source=source, batch_size=4, num_workers=2, output="numpy", memory_budget=budget) as pipeline:
            iterator = iter(pipeline)
            assert iterator._work.ring.slots == slots
            assert budget is None or iterator._work.ring.slots * iterator._work.ring.slot_bytes <= budget
            kept = list(iterator)
            streams.append([batch["value"][:, 0].tolist() for batch in kept])
    assert streams[0] == streams[1] == streams[2] == [source[i : i + 4, 0].tolist() for i in range(0, 64, 4)]
    assert "a ring of 19 slots of 4.0 MB" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_a_budget_that_is_too_small_says_how_much_it_takes(workers: int) -> None:
    options: dict[str, Any] = {"batch_size": 2, "num_workers": workers, "output": "numpy", "memory_budget": 50_000_000}
    with (
        Pipeline(source=np.zeros((8, 1000, 1000)), **options) as pipeline,
        pytest.raises(ValueError, match=r"memory_budget=50000000 .* holds 3 batches of 16.0 MB.*6 are needed"),
    ):
        iter(pipeline)


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
