"""Processes that the user's code starts in a worker: they never speak for it, and they go with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import Pipeline
from datarax_mp.crews.processes.pool import pool
from tests.processes import all_end, lives, nursery


class Parent:
    """Starts a process when record 6 is read, and notes its number."""

    def __init__(self, start: Callable[[], int], place: Path) -> None:
        self.start, self.place = start, place

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> dict[str, Any]:
        note = self.place / "started"
        if number == 6 and not note.exists():
            child = self.start()
            note.with_suffix(".part").write_text(str(child))
            note.with_suffix(".part").rename(note)
        return {"n": number, "worker": os.getpid()}


def sleeper() -> int:
    return os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")


def sleeper_that_ignores_sigterm() -> int:
    return subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]).pid


def sleeper_of_its_own_session() -> int:
    return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid


def forked() -> int:
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    return child


def stopped() -> int:
    child = subprocess.Popen(["sleep", "1000"]).pid
    os.kill(child, signal.SIGSTOP)
    return child


def start_in_worker(start: Callable[[], int], place: Path) -> tuple[psutil.Process, psutil.Process]:
    """The worker that has started a process, and that process."""
    with Pipeline(source=Parent(start, place), batch_size=4, num_workers=1, output="numpy") as pipeline:
        iterator = iter(pipeline)
        batches = [next(iterator), next(iterator)]  # afterwards they may be gone any moment
        worker = psutil.Process(int(batches[0]["worker"][0]))
        child = psutil.Process(int((place / "started").read_text()))
        batches += iterator
    assert [n for batch in batches for n in batch["n"].tolist()] == list(range(40))
    return worker, child


@pytest.mark.parametrize("start", [sleeper, sleeper_that_ignores_sigterm, forked, stopped])
@pytest.mark.parametrize("end", ["killed", "parked for too long"])
def test_what_a_worker_has_started_goes_with_it(
    start: Callable[[], int], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool().close()
    if end == "parked for too long":
        monkeypatch.setattr("datarax_mp.crews.processes.pool.PARK_SECONDS", 0.1)
    worker, child = start_in_worker(start, tmp_path)
    if end == "killed":
        worker.kill()
    assert all_end([worker])
    assert all_end([child])


@pytest.mark.needs("proc")
def test_what_a_worker_has_started_goes_when_the_nursery_is_killed(tmp_path: Path) -> None:
    pool().close()
    worker, child = start_in_worker(sleeper, tmp_path)
    nursery().kill()
    assert all_end([worker])
    with Pipeline(source=np.arange(8), batch_size=4, num_workers=1, output="numpy") as pipeline:
        assert len(list(pipeline)) == 2  # main has noticed
    assert all_end([child])


def test_what_a_worker_has_started_goes_when_the_pool_is_closed(tmp_path: Path) -> None:
    pool().close()
    _, child = start_in_worker(sleeper, tmp_path)
    pool().close()
    assert all_end([child])


def test_what_has_left_on_purpose_stays(tmp_path: Path) -> None:
    pool().close()
    worker, child = start_in_worker(sleeper_of_its_own_session, tmp_path)
    try:
        worker.kill()
        assert all_end([worker])
        pool().close()
        assert child.is_running()
        assert lives(child)
    finally:
        child.kill()


TWINS = """
import os, sys, time
import numpy as np
from datarax_mp import Pipeline

class Twins:
    def __len__(self):
        return 400
    def __getitem__(self, number):
        if number in (1, 30, 31, 200):
            if os.fork() == 0:
                time.sleep(0.3)  # main has had the batch by then, and its slot is used again
                number = -1
        return {"n": number, "x": np.full(1000, number)}

class Stage:
    def __call__(self, record):
        if record["n"] in (5, 77) and os.fork() == 0:
            time.sleep(0.2)
            raise ValueError("from the twin")
        return record

with Pipeline(source=Twins(), batch_size=2, num_workers=2, stages=[Stage()], output="numpy") as pipeline:
    for _ in range(2):
        kept = list(pipeline)
        time.sleep(0.5)
        assert [n for batch in kept for n in batch["n"].tolist()] == list(range(400))
        assert all((batch["x"] == batch["n"][:, None]).all() for batch in kept)
"""


def test_a_fork_that_comes_back_twice_changes_no_batch_and_says_so(run_script: Callable[..., Any], family: Any) -> None:
    done = run_script(TWINS, check=False)
    assert done.returncode == 0, done.stderr
    # The twin comes to its end where it would answer, or where it would write to a slot, which it does not have.
    assert "came back out of it; it ends here" in done.stderr or "Fatal Python error" in done.stderr
    assert "AssertionError" not in done.stderr


def test_a_worker_that_dies_is_noticed_while_a_process_that_it_forked_lives(tmp_path: Path) -> None:
    def forks_and_dies(record: Any) -> Any:
        if record["n"] == 6 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            if (child := os.fork()) == 0:
                os.setsid()
                time.sleep(1000)
                os._exit(0)
            (tmp_path / "child").write_text(str(child))
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    source = Parent(sleeper, tmp_path)
    (tmp_path / "started").touch()
    began = time.monotonic()
    with Pipeline(source=source, batch_size=4, num_workers=1, stages=[forks_and_dies], output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(40))
    assert time.monotonic() - began < 100
    with contextlib.suppress(ProcessLookupError):  # if it was quick enough to leave, it stays
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
