"""Killing what may die."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def kill_workers(count: int | None = None) -> list[int]:
    """Kill worker processes of this interpreter (SIGKILL), as a system without memory does, and see them dead.

    A pipeline replaces them and goes on with the same stream, unless it has ``restart_workers=False``. What kills a
    worker in the middle of a certain record is ``os.kill(os.getpid(), signal.SIGKILL)`` in a stage.

    Args:
        count: how many, those that work for a pipeline first; None is all, those that wait for the next one included.

    Returns:
        Their process numbers.

    >>> from datarax_mp import Pipeline
    >>> with Pipeline(source={"x": range(100)}, batch_size=1, num_workers=2) as pipeline:
    ...     iterator = iter(pipeline)
    ...     seen = [next(iterator)["x"].item()]
    ...     killed = len(kill_workers()) >= 2
    ...     seen += [batch["x"].item() for batch in iterator]
    >>> killed, seen == list(range(100))
    (True, True)
    """
    from datarax_mp.crews.processes.pool import pool  # delayed: processes are imported by whoever has some

    lent = pool().pids(parked=False)
    pids = [*lent, *(pid for pid in pool().pids() if pid not in lent)][:count]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    pool().await_end(pids)
    return pids
