"""Which worker this is, for the user's code that runs in it."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker's place among those of its pipeline.

    Attributes:
        index: from 0 to ``count - 1``. A worker that takes a dead one's place has its index.
        count: how many workers the pipeline has; with ``num_workers="auto"`` the most it may have.
    """

    index: int
    count: int


_here: WorkerInfo | None = None
_of_thread = threading.local()


def worker_info() -> WorkerInfo | None:
    """Which of a pipeline's workers the calling code runs in; None outside of workers, also with ``num_workers=0``.

    Nothing that goes into a batch should depend on it: which worker makes which batch is chance. It is for what each
    worker has of its own, such as a log file, a cache folder or a connection, see ``Pipeline(worker_init=)``.

    >>> print(worker_info())
    None
    """
    return getattr(_of_thread, "info", _here)


def become_in_thread(info: WorkerInfo) -> None:
    """Make the calling thread the worker that ``info`` says."""
    _of_thread.info = info


def become(info: WorkerInfo) -> None:
    """Make this process the worker that ``info`` says."""
    global _here
    _here = info
