"""What is done to processes."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from datarax_mp.commands.drilling import disturbances
from datarax_mp.commands.drilling.disturbances import freeze_all, freeze_worker, kill_nursery, kill_worker
from tests import processes

CHANCE = random.Random(0)


class Pool:
    """A pool whose worker and nursery sleep."""

    def __init__(self, worker: int | None, nursery: int | None) -> None:
        self.worker, self.of = worker, nursery

    def pids(self, *, parked: bool = True) -> list[int]:
        return [] if self.worker is None else [self.worker]

    def nursery(self) -> int | None:
        return self.of


@pytest.fixture
def sleepers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    both = [subprocess.Popen(["sleep", "600"]) for _ in range(2)]
    monkeypatch.setattr(disturbances, "pool", lambda: Pool(both[0].pid, both[1].pid))
    yield both
    for process in both:
        process.kill()
        process.wait()


def stopped(process: subprocess.Popen[bytes]) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def test_kills_hit_who_is_meant(sleepers: list[subprocess.Popen[bytes]]) -> None:
    worker, nursery = sleepers
    assert kill_worker(CHANCE)[0] == "a worker was killed"
    assert worker.wait(20) == -signal.SIGKILL and nursery.poll() is None
    assert "starts workers was killed" in kill_nursery(CHANCE)[0]
    assert nursery.wait(20) == -signal.SIGKILL


def test_who_was_stopped_goes_on_when_that_is_undone(
    sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disturbances, "FREEZE_SECONDS", 600.0)
    worker, nursery = sleepers
    _, undo = freeze_worker(CHANCE)
    assert processes.comes_true(lambda: stopped(worker)) and not stopped(nursery)
    undo()
    assert processes.comes_true(lambda: not stopped(worker))
    _, undo = freeze_all(CHANCE)
    assert processes.comes_true(lambda: stopped(worker) and stopped(nursery))
    undo()
    assert processes.comes_true(lambda: not stopped(worker) and not stopped(nursery))


def test_who_was_stopped_goes_on_after_a_while(
    sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disturbances, "FREEZE_SECONDS", 0.05)
    sent: list[int] = []
    monkeypatch.setattr(disturbances, "_send", lambda pid, number: sent.append(number))
    freeze_worker(CHANCE)
    assert processes.comes_true(lambda: sent == [signal.SIGSTOP, signal.SIGCONT])


def test_where_there_is_nobody_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbances, "pool", lambda: Pool(None, None))
    assert kill_worker(CHANCE)[0] == "no worker to kill"
    assert kill_nursery(CHANCE)[0].startswith("no process")
    freeze_all(CHANCE)[1]()
