"""What may happen to the processes of a pipeline, made to happen."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from datarax_mp.crews.processes.pool import pool

FREEZE_SECONDS = 0.3

Undo = Callable[[], None]  # ends what a disturbance has begun and is not over by itself
Disturbance = Callable[[random.Random], tuple[str, Undo]]


def kill_worker(chance: random.Random) -> tuple[str, Undo]:
    """SIGKILL to one of the workers that are at work, as a system without memory sends it."""
    pids = pool().pids(parked=False)
    if not pids:
        return "no worker to kill", _nothing
    _send(chance.choice(pids), signal.SIGKILL)
    return "a worker was killed", _nothing


def kill_nursery(chance: random.Random) -> tuple[str, Undo]:
    """SIGKILL to the process that starts workers; all of them end with it."""
    pid = pool().nursery()
    if pid is None:
        return "no process that starts workers to kill", _nothing
    _send(pid, signal.SIGKILL)
    return "the process that starts workers was killed, and all of them with it", _nothing


def freeze_worker(chance: random.Random) -> tuple[str, Undo]:
    """SIGSTOP to one worker, for a while."""
    pids = pool().pids(parked=False)
    return f"a worker was stopped for {FREEZE_SECONDS} s", _freeze([chance.choice(pids)] if pids else [])


def freeze_all(chance: random.Random) -> tuple[str, Undo]:
    """SIGSTOP to all workers and to the process that starts them, for a while."""
    nursery = pool().nursery()
    pids = [*pool().pids(), *([] if nursery is None else [nursery])]
    return f"all workers were stopped for {FREEZE_SECONDS} s", _freeze(pids)


def none(chance: random.Random) -> tuple[str, Undo]:
    """Nothing but that the stream is taken up where it was left."""
    return "taken up there, and no more", _nothing


OF_PROCESSES: tuple[Disturbance, ...] = (kill_worker, freeze_worker, kill_nursery, freeze_all, none)


def _freeze(pids: Sequence[int]) -> Undo:
    """Stop processes; they go on after a while, or when that is undone, whichever comes first."""

    def thaw() -> None:
        for pid in pids:
            _send(pid, signal.SIGCONT)

    timer = threading.Timer(FREEZE_SECONDS, thaw)
    timer.daemon = True

    def undo() -> None:
        timer.cancel()
        thaw()
        timer.join()

    try:
        timer.start()
        for pid in pids:
            _send(pid, signal.SIGSTOP)
    except BaseException:
        undo()
        raise
    return undo


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, number)


def _nothing() -> None:
    pass
