"""What the threads of this process are at."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import NamedTuple

from datarax_mp.crews.base import Assignment, Job
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.ring import Ring


class _Begun(NamedTuple):
    recipe: Recipe
    job: Job
    thread: threading.Thread


class Running:
    """What threads of this process are at, of all crews."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nobody is at anything: in a forked process, whose threads are the parent's."""
        # No ``threading.Condition``: a signal handler can raise in its own lines, which leaves the lock taken.
        self._lock = threading.RLock()
        self._runs: list[_Begun] = []
        self._waiting: list[queue.SimpleQueue[None]] = []  # is told when somebody is through

    def begin(self, recipe: Recipe, job: Job) -> None:
        """The calling thread begins with something."""
        with self._lock:
            self._runs.append(_Begun(recipe, job, threading.current_thread()))

    def end(self, job: Job) -> None:
        """It is through with it, and writes no more."""
        with self._lock:
            self._runs = [one for one in self._runs if one.job is not job]
            for told in self._waiting:
                told.put(None)

    def count(self, ring: Ring) -> int:
        """How many slots of a ring are being written to."""
        return sum(isinstance(one.job, Assignment) and one.job.ring is ring for one in self._runs)

    def thread_at(self, job: Job) -> threading.Thread | None:
        """Which thread is at it."""
        return next((one.thread for one in self._runs if one.job is job), None)

    def at_work(self, recipe: Recipe) -> tuple[Job, threading.Thread] | None:
        """Something of a recipe, and the thread that is at it, if there is any."""
        return next(((one.job, one.thread) for one in self._runs if one.recipe is recipe), None)

    def wait(self, recipe: Recipe | None, deadline: float) -> None:
        """Until nobody is at a run of this recipe (None is any) that has been left, or until the deadline."""

        def over() -> bool:
            return not any(recipe in (None, one.recipe) and not one.job.wanted for one in self._runs)

        told: queue.SimpleQueue[None] = queue.SimpleQueue()
        try:
            with self._lock:
                self._waiting.append(told)
            while not over():
                told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            pass
        finally:
            with self._lock:
                if told in self._waiting:
                    self._waiting.remove(told)


running = Running()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=running.begin_anew)
