"""What prepares a process before it reads its first record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from datarax_mp.core.strays import claim

# What is around every call: a worker process has a log to look after.
around: Callable[[], AbstractContextManager[Any]] = nullcontext


class WorkerInit:
    """A function that prepares a process, called once in each that the recipe comes to.

    Args:
        fn: takes no arguments.
    """

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self._done = False

    def __call__(self) -> None:
        """Call it, unless that has been done here."""
        if self._done:
            return
        try:
            with around():
                self.fn()
        except Exception as error:
            claim(error, "while worker_init prepared the process")
            raise
        self._done = True

    def __getstate__(self) -> dict[str, Any]:
        return {"fn": self.fn, "_done": False}  # another process has not been prepared
