"""Workers that are let go while they may still write: nothing of theirs is used again before they are dead."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import Pipeline
from datarax_mp.crews.base import Assignment
from datarax_mp.crews.processes.board import Board
from datarax_mp.crews.processes.protocol import Channel
from datarax_mp.crews.processes.worker import Worker, reap_dying
from datarax_mp.recipe.work import Run
from datarax_mp.ring import Ring
from tests.processes import lives

ROWS = 16


class CutsItselfOff:
    """Record 40 closes the sockets of its worker, which then goes on with its work, slowly, with wrong values."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "pid"
        self.cut_off = False

    def __len__(self) -> int:
        return 400

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number == 40 and not self.marker.exists():
            for descriptor in filter(is_socket, range(3, 256)):
                os.close(descriptor)
            self.marker.write_text(str(os.getpid()))
            self.cut_off = True
        if self.cut_off:
            time.sleep(1)  # for each of eight records: its end is not what is waited for
            return {"n": -1, "x": np.full(1000, -1)}
        return {"n": number, "x": np.full(1000, number)}


def is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:  # it is not open
        return False


def right(batches: list[Any]) -> list[int]:
    """The numbers of the records, all of which have the values they should."""
    assert all((batch["x"] == batch["n"][:, None]).all() for batch in batches)
    return [n for batch in batches for n in batch["n"].tolist()]


def is_dead(pid: int) -> bool:
    try:
        return not lives(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def make(folder: Path, **more: Any) -> Pipeline:
    return Pipeline(source=CutsItselfOff(folder), batch_size=ROWS, num_workers=2, output="numpy", **more)


def test_an_epoch_that_is_left_while_a_worker_without_a_channel_writes_spoils_no_batch(tmp_path: Path) -> None:
    with make(tmp_path) as pipeline:
        iterator = iter(pipeline)
        kept = [next(iterator), next(iterator)]
        while not (tmp_path / "pid").exists():
            time.sleep(0.001)
        iterator.close()
        kept += list(pipeline)
        assert right(kept) == [*range(2 * ROWS), *range(400)]
        assert is_dead(int((tmp_path / "pid").read_text()))
        assert right(kept) == [*range(2 * ROWS), *range(400)]


def test_a_worker_without_a_channel_is_ended_before_another_one_does_its_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with make(tmp_path) as pipeline:
        batches = list(pipeline)
        assert right(batches) == list(range(400))
        assert "had its channel closed, by code that closes descriptors it did not open" in caplog.text
        assert right(batches) == list(range(400))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_what_a_worker_has_in_hand_is_free_when_it_is_dead_and_not_before(process: subprocess.Popen[bytes]) -> None:
    ours, theirs = socket.socketpair()
    lines: list[int] = []
    ring = Ring(2, 4096, shared=False)
    # The signal gets lost, as if the process waited in the kernel for a file server.
    worker = Worker(Channel(ours), Board(), 7, lines.append, lambda pid, number: None)
    worker.pid = process.pid
    slot = ring.acquire()
    assert slot is not None
    with theirs:
        worker.ask(Assignment(Run(0, 0, 1, slot), ring), Run(0, 0, 1, slot))
        worker.kill(0.05)
    reap_dying()
    assert worker.closed
    assert (ring.filling, lines) == (1, [])
    process.kill()
    assert worker.ended(10)
    reap_dying()
    assert (ring.filling, lines) == (0, [7])


def test_a_slot_goes_back_once_however_often_it_is_given_back() -> None:
    ring = Ring(2, 4096, shared=False)
    slot = ring.acquire()
    assert slot is not None
    assignment = Assignment(Run(0, 0, 1, slot), ring)
    assignment.discard()
    assignment.discard()
    assert sorted([ring.acquire(), ring.acquire()]) == [0, 1]  # type: ignore[type-var]
    assert ring.acquire() is None
