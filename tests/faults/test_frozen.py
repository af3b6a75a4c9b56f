"""Processes that are stopped: the nursery alone, or all of them for longer than any time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import Pipeline, WorkerTimeoutError
from datarax_mp.crews.processes.pool import pool
from tests import processes


@contextlib.contextmanager
def stopped_nursery() -> Iterator[psutil.Process]:
    pool().prepare()
    nursery = processes.nursery()
    nursery.suspend()
    while nursery.status() != psutil.STATUS_STOPPED:
        time.sleep(0.001)
    try:
        yield nursery
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            nursery.resume()


def stage(record: Any) -> Any:
    if record == 9:
        time.sleep(1000)
    return {"n": record}


def make(stop: int = 64, **more: Any) -> Pipeline:
    return Pipeline(source=np.arange(stop), batch_size=4, num_workers=2, stages=[stage], output="numpy", **more)


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck worker ends because somebody ends it, and not by itself within the test."""
    monkeypatch.setattr("datarax_mp.crews.processes.pool.GRACE_SECONDS", 1000.0)


def numbers(batches: Any) -> list[int]:
    return [n for batch in batches for n in batch["n"].tolist()]


def test_a_nursery_that_is_stopped_before_workers_are_started_is_replaced() -> None:
    pool().close()
    with stopped_nursery() as nursery, make(stop=8) as pipeline:
        began = time.monotonic()
        assert numbers(pipeline) == list(range(8))
        assert time.monotonic() - began < 60
        assert not processes.lives(nursery)


def test_the_time_limit_is_kept_while_the_nursery_is_stopped(no_grace: None) -> None:
    with make(timeout=3) as pipeline, contextlib.ExitStack() as undo:
        received = []
        with pytest.raises(WorkerTimeoutError, match="worked on record 9"):
            for batch in pipeline:
                received += batch["n"].tolist()
                if len(received) == 4:
                    undo.enter_context(stopped_nursery())
        assert received == list(range(8))
        began = time.monotonic()
        pipeline.close(timeout=0.5)
        assert time.monotonic() - began < 60


@pytest.mark.needs("pidfd_open")  # without it, and without /proc, only the nursery knows that a worker is dead
def test_a_worker_that_dies_while_the_nursery_is_stopped_is_replaced(tmp_path: Path) -> None:
    def dies(record: Any) -> Any:
        if record == 40 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"n": record}

    source = np.arange(64)
    with Pipeline(source=source, batch_size=4, num_workers=2, stages=[dies], output="numpy") as pipeline:
        iterator = iter(pipeline)
        first = next(iterator)["n"].tolist()
        with stopped_nursery():
            assert first + numbers(iterator) == list(range(64))


def test_close_is_kept_while_the_nursery_is_stopped(no_grace: None) -> None:
    pipeline = make()
    iterator = iter(pipeline)
    next(iterator)
    with stopped_nursery():
        began = time.monotonic()
        pipeline.close(timeout=0.5)
        pool().close()
        assert time.monotonic() - began < 60


FROZEN = """
import sys, time
import numpy as np
from datarax_mp import Pipeline

def slow(record):
    time.sleep(0.05)
    return {"n": record}

pipeline = Pipeline(source=np.arange(60), batch_size=2, num_workers=2, stages=[slow], output="numpy", timeout=1.5)
for epoch in range(2):
    received = []
    for batch in pipeline:
        if not received:
            print("working", flush=True)
        received += batch["n"].tolist()
    assert received == list(range(60)), received
print("whole", flush=True)
"""


FIRST_RECORD = """
import os, time
import numpy as np
from datarax_mp import Pipeline

def slow(record):
    if record == 0 and not os.path.exists("read"):
        open("read", "w").close()
        print("working", flush=True)
        for _ in range(10):
            time.sleep(0.05)
    return {"n": record}

with Pipeline(source=np.arange(8), batch_size=2, num_workers=2, workers=WORKERS, stages=[slow], output="numpy",
              timeout=1.5) as pipeline:
    assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(8))
print("whole", flush=True)
"""


def freeze(family: Any) -> int:
    """Stop all processes of a program for longer than it may take; how many there were."""
    alive = family.alive()
    for process in alive:
        process.suspend()
    time.sleep(4)
    for process in reversed(alive):
        process.resume()
    return len(alive)


@pytest.mark.parametrize(("workers", "processes"), [("processes", 4), ("threads", 1)])
def test_the_first_record_may_take_its_time_when_all_were_stopped_for_longer_than_the_time_limit(
    workers: str, processes: int, tmp_path: Path, family: Any
) -> None:
    with program(FIRST_RECORD.replace("WORKERS", repr(workers)), tmp_path, family) as main:
        assert main.stdout.readline() == "working\n"
        assert freeze(family) == processes
        assert main.communicate(timeout=60) == ("whole\n", "")


@contextlib.contextmanager
def program(code: str, folder: Path, family: Any) -> Iterator[Any]:
    """A program that runs beside this one."""
    (folder / "script.py").write_text(code)
    main = subprocess.Popen(
        [sys.executable, "-W", "error", "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=family.env,
        cwd=folder,
        text=True,
    )
    try:
        yield main
    finally:
        main.kill()
        main.communicate()


def test_nobody_healthy_is_killed_when_all_were_stopped_for_longer_than_the_time_limit(
    tmp_path: Path, family: Any
) -> None:
    with program(FROZEN, tmp_path, family) as main:
        for _ in range(2):
            assert main.stdout.readline() == "working\n"
            assert freeze(family) == 4
        assert main.communicate(timeout=60) == ("whole\n", "")
