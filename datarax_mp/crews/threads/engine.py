"""Threads as a way of making batches."""

from __future__ import annotations

import os
import time
from collections import deque

from datarax_mp.core.exits import Turn, at_exit
from datarax_mp.core.waker import Waker
from datarax_mp.crews.threads.crew import ThreadCrew
from datarax_mp.crews.threads.gate import Gate
from datarax_mp.crews.threads.running import running
from datarax_mp.crews.threads.worker import Worker
from datarax_mp.recipe.lane import OpenLanes
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.user_code import UserCode

_EXIT_SECONDS = 2.0  # for what is still being made when the interpreter ends


class ThreadEngine:
    """Threads of the calling process, as ``crews.base.Engine`` says. They stay until it is closed.

    Args:
        recipe: what they do.
        most: how many there may be.
        timeout: seconds that the first record may take, or None.
    """

    shared = False
    shelves = True

    def __init__(self, recipe: Recipe, most: int, *, timeout: float | None) -> None:
        self._recipe, self._most, self._timeout = recipe, most, timeout
        self._code = UserCode(recipe)
        self._begin()

    def _begin(self) -> None:
        self._process, self._closed = os.getpid(), False
        self._gate = Gate(self._code)
        self._idle: deque[Worker] = deque()
        self._lanes = OpenLanes()

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> ThreadCrew:
        """So many threads. What the user has changed in the recipe is there as it is."""
        if self._process != os.getpid():  # forked by the user: threads are the parent's
            self._begin()
        self._closed = False
        self._code.begin()
        self._gate.begin()
        return ThreadCrew(
            self._recipe,
            self._gate,
            self._lease,
            self._park,
            size,
            most=self._most,
            epoch=epoch,
            timeout=self._timeout,
            waker=waker,
        )

    def _lease(self) -> Worker:
        try:
            return self._idle.pop()
        except IndexError:
            return Worker(self._recipe, self._code.opened, self._lanes)

    def _park(self, worker: Worker) -> None:
        self._idle.append(worker)
        if self._closed:
            self._end_idle()

    def _end_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().end()
            except IndexError:  # another thread was quicker
                return

    def finish(self, deadline: float) -> None:
        """Wait for runs that nobody wants any more. What is not over at the deadline goes on: threads have no end."""
        running.wait(self._recipe, deadline)

    def close(self) -> None:
        """End threads, each when it has nothing to do any more; the last one that still reads leaves the sources."""
        self._closed, self._lanes = True, OpenLanes()
        if self._process == os.getpid():
            self._end_idle()
            self._gate.close()


@at_exit(Turn.WORKERS)
def _wait_at_exit() -> None:
    """Iterators are closed by now. What is in the middle of native code would crash without an interpreter."""
    running.wait(None, time.monotonic() + _EXIT_SECONDS)
