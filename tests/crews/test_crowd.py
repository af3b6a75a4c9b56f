"""How many workers get work where there are more of them than cores."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from datarax_mp import Pipeline
from datarax_mp.core.series import Series
from datarax_mp.crews.processes.crowd import Crowd
from datarax_mp.recipe.recorder import Phase
from datarax_mp.recipe.watch import Timed
from datarax_mp.recipe.work import Done, Written
from tests.fakes import FakeClock


@dataclass
class FakeWorker:
    pending: Mapping[int, object] = field(default_factory=dict)
    since: float = 0.0


def done(*, computed: float, starved: float, seconds: float = 0.01) -> Done:
    """A run that was looked at; the shares of its time."""
    parts = {(Phase.READING, 0): Series()}
    timed = Timed(1, 1, seconds, seconds * computed, seconds * starved, None, None, parts, 0, 0, 0, [])
    return Done(seconds, Written.nothing(), timed)


def crowd(*runs: Done, cores: int = 2, clock: FakeClock | None = None, limited: bool = True) -> Crowd:
    found = Crowd(limited=limited, cores=lambda: cores, clock=FakeClock() if clock is None else clock)
    for run in runs:
        found.took(run)
    return found


BUSY = [done(computed=0.5, starved=0.5)] * 8


@pytest.mark.parametrize(
    ("computed", "starved", "most"),
    [
        (1.0, 0.0, None),  # each has a core to itself
        (0.1, 0.05, None),  # they wait for a disk
        (0.5, 0.5, 2),
        (0.25, 0.75, 2),
        (0.3, 0.2, 4),
        (0.1, 0.15, 8),
    ],
)
def test_as_many_get_work_as_the_cores_can_serve(computed: float, starved: float, most: int | None) -> None:
    found = crowd(*[done(computed=computed, starved=starved)] * 8)
    assert found.most == most
    workers = [FakeWorker() for _ in range(16)]
    assert len(found.working(workers)) == (most or 16)
    assert found.spare(workers) == 16 - (most or 16)


def test_nothing_is_decided_by_a_few_runs_nor_where_a_lane_has_its_worker_nor_below_the_cores() -> None:
    assert crowd(*BUSY[:7]).most is None
    assert crowd(*BUSY, limited=False).most is None
    assert crowd(*[Done(0.01, Written.nothing())] * 100).most is None
    workers = [FakeWorker() for _ in range(4)]
    assert crowd(*BUSY, cores=4).working(workers) == workers
    assert crowd(*BUSY, cores=4).spare(workers) == 0


def test_what_workers_need_may_change_and_they_do_not_compete_once_few_get_work() -> None:
    found = crowd(*BUSY)
    for _ in range(50):
        found.took(done(computed=1.0, starved=0.0))
    assert found.most == 2
    for _ in range(50):
        found.took(done(computed=0.25, starved=0.0))
    assert found.most == 8


def test_another_gets_work_when_one_is_late_and_whoever_waits_for_it_knows_when_that_is() -> None:
    clock = FakeClock()
    found, workers = crowd(*BUSY, clock=clock), [FakeWorker() for _ in range(4)]
    assert found.patience(workers) is None  # nobody has anything to be late with
    workers[0].pending, workers[0].since = {1: object()}, clock.now
    first = found.patience(workers)
    assert first == pytest.approx(0.1)
    clock.now += 0.04
    workers[1].pending, workers[1].since = {2: object()}, clock.now
    assert found.patience(workers) == pytest.approx(0.06)
    assert found.working(workers) == workers[:2]
    clock.now += 0.07
    assert found.working(workers) == workers[1:3]
    clock.now += 0.2
    assert found.working(workers) == workers[2:]
    for worker in workers[2:]:
        worker.pending, worker.since = {3: object()}, clock.now
    clock.now += 1
    assert found.working(workers) == workers  # none is in time, and whoever comes back first is as good as others
    assert found.patience(workers) is None


def test_runs_that_take_long_are_not_late_so_soon() -> None:
    clock = FakeClock()
    found, worker = crowd(*BUSY, done(computed=0.5, starved=0.5, seconds=2.0), clock=clock), FakeWorker({1: None})
    worker.since = clock.now
    assert found.patience([worker, FakeWorker(), FakeWorker()]) == pytest.approx(8.0)


class OneIsLate:
    """Records say who has read them, as long as some core is busy; the first one to come to record 600 waits there."""

    def __init__(self, folder: Path, cores: set[int]) -> None:
        self.folder, self.cores = folder, cores

    def __len__(self) -> int:
        return 1200

    def __getitem__(self, number: int) -> dict[str, Any]:
        os.sched_setaffinity(0, self.cores)
        if number == 600:
            self.wait()
        end = time.thread_time() + 0.001
        while time.thread_time() < end:
            pass
        return {"n": number, "pid": os.getpid()}

    def wait(self) -> None:
        """Until another one has gone on."""
        while not list(self.folder.iterdir()):
            time.sleep(0.01)


@pytest.mark.needs("proc")  # which says for how long a process waits for a core
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_on_one_core_one_worker_makes_the_batches_and_the_others_when_it_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datarax_mp.core.cores.affinity", lambda: 1)
    tried = []
    for attempt in range(TRIES):
        (tmp_path / str(attempt)).mkdir()
        found = batches_on_one_core(tmp_path / str(attempt))
        assert [n for numbers, _, _ in found for n in numbers] == list(range(1200))
        spare = {spare for *_, spare in found}
        settled = [who for numbers, who, spare in found if spare and numbers[-1] < 600]
        if spare == {0, 3} and len(settled) > 20 and all(who == settled[-1] for who in settled[-10:]):
            return
        tried.append((spare, settled))
    raise AssertionError(tried)


# What is decided by which times is shown above. Here they are real, and others' work on this machine makes them longer:
# a worker that gets no core looks as if it waited for a disk, or is late itself. So it need not be the first time.
TRIES = 8


def batches_on_one_core(folder: Path) -> list[tuple[list[int], set[int], int]]:
    """Of each batch: its records, who has read them, and how many workers got no work by then."""

    def note(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] > 600:
            (folder / str(os.getpid())).touch()
        return record

    source = OneIsLate(folder, {min(os.sched_getaffinity(0))})
    with Pipeline(source=source, batch_size=4, num_workers=4, stages=[note], output="numpy") as pipeline:
        return [(batch["n"].tolist(), set(batch["pid"].tolist()), pipeline.stats().spare) for batch in pipeline]
