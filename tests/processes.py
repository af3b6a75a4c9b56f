"""The processes that this one has started, as one sees them from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from datarax_mp.monitoring.memory import Role, tree_memory

SECONDS = 20.0  # the net: what is waited for takes milliseconds


def nursery() -> psutil.Process:
    """The process that starts workers; there is one."""
    [found] = _of("nursery")
    return found


def workers() -> list[psutil.Process]:
    """All workers, those that are at work and those that are parked."""
    return _of("worker")


def _of(role: Role) -> list[psutil.Process]:
    found = []
    for process in tree_memory().of(role):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            found.append(psutil.Process(process.pid))
    return found


def own_memory(pid: int) -> int:
    """The private pages of a process in bytes, without shared memory that it alone has looked at so far.

    Those are of the ring or of the source, and how many a worker has is a question of which worker came first.
    """
    maps = psutil.Process(pid).memory_maps(grouped=True)
    return sum(m.private_clean + m.private_dirty for m in maps if not m.path.startswith(("/dev/shm", "/memfd")))


def lives(process: psutil.Process) -> bool:
    """Whether a process has not come to its end; what is left of one that nobody has asked about does not count."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether something holds, sooner or later."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def all_end(processes: Iterable[psutil.Process]) -> bool:
    """Whether these end, sooner or later."""
    processes = list(processes)
    return comes_true(lambda: not any(map(lives, processes)))


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, and wait until they have ended."""
    processes = list(processes)
    for process in processes:
        process.kill()
    assert all_end(processes)
