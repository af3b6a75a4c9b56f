"""A worker's runs done in the calling process, and what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """The median CPU time of this thread for a call."""
    work()
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return statistics.median(times) * 1e6


def raise_it(error: BaseException) -> Any:
    """What ``Executor.perform`` is to do with an exception: here it need not be packed for a journey."""
    raise error
