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


def numbers(batches: Any) -> list[int]:
    return [n for batch in batches for n in batch["n"].tolist()]


def test_a_nursery_that_is_stopped_before_workers_are_started_is_replaced() -> None:
    pool().close()
    with stopped_nursery() as nursery, make(stop=8) as pipeline:
        began = time.monotonic()
        assert numbers(pipeline) == list(range(8))
        assert time.monotonic() - began < 20
        assert not processes.lives(nursery)


def test_the_time_limit_is_kept_while_the_nursery_is_stopped() -> None:
    with make(timeout=0.5) as pipeline:
        received = []
        with pytest.raises(WorkerTimeoutError, match="worked on record 9"):
            for batch in pipeline:
                received += batch["n"].tolist()
                if len(received) == 4:
                    stopped = stopped_nursery()
                    stopped.__enter__()
        assert received == list(range(8))
        began = time.monotonic()
        pipeline.close(timeout=0.5)
        assert time.monotonic() - began < 5
        stopped.__exit__(None, None, None)


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


def test_close_is_kept_while_the_nursery_is_stopped() -> None:
    pipeline = make()
    iterator = iter(pipeline)
    next(iterator)
    with stopped_nursery():
        began = time.monotonic()
        pipeline.close(timeout=0.5)
        pool().close()
        assert time.monotonic() - began < 5


FROZEN = """
import sys, time
import numpy as np
from datarax_mp import Pipeline

def slow(record):
    time.sleep(0.05)
    return {"n": record}

pipeline = Pipeline(source=np.arange(60), batch_size=2, num_workers=2, stages=[slow], output="numpy", timeout=0.4)
for epoch in range(2):
    received = []
    for batch in pipeline:
        if not received:
            print("working", flush=True)
        received += batch["n"].tolist()
    assert received == list(range(60)), received
print("whole", flush=True)
"""


def test_nobody_healthy_is_killed_when_all_were_stopped_for_longer_than_the_time_limit(
    tmp_path: Path, family: Any
) -> None:
    script = tmp_path / "script.py"
    script.write_text(FROZEN)
    main = subprocess.Popen(
        [sys.executable, "-W", "error", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=family.env,
        text=True,
    )
    assert main.stdout is not None
    for _ in range(2):
        assert main.stdout.readline() == "working\n"
        alive = family.alive()
        assert len(alive) == 4
        for process in alive:
            process.suspend()
        time.sleep(1.5)
        for process in reversed(alive):
            process.resume()
    stdout, stderr = main.communicate(timeout=60)
    assert stderr == ""
    assert stdout == "whole\n"
