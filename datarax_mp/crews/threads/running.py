"""What the threads of this process are at."""

from __future__ import annotations

import os
import threading
import time
from typing import NamedTuple

from datarax_mp.crews.base import Assignment
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.ring import Ring


class _Begun(NamedTuple):
    recipe: Recipe
    assignment: Assignment
    thread: threading.Thread


class Running:
    """The runs that threads of this process are at, of all crews."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nobody is at anything: in a forked process, whose threads are the parent's."""
        self._changed = threading.Condition()
        self._runs: list[_Begun] = []

    def begin(self, recipe: Recipe, assignment: Assignment) -> None:
        """The calling thread begins with a run."""
        with self._changed:
            self._runs.append(_Begun(recipe, assignment, threading.current_thread()))

    def end(self, assignment: Assignment) -> None:
        """It is through with it, and writes no more."""
        with self._changed:
            self._runs = [one for one in self._runs if one.assignment is not assignment]
            self._changed.notify_all()

    def count(self, ring: Ring) -> int:
        """How many slots of a ring are being written to."""
        return sum(one.assignment.ring is ring for one in self._runs)

    def thread_at(self, assignment: Assignment) -> threading.Thread | None:
        """Which thread is at a run."""
        return next((one.thread for one in self._runs if one.assignment is assignment), None)

    def at_work(self, recipe: Recipe) -> tuple[Assignment, threading.Thread] | None:
        """A run of a recipe, and the thread that is at it, if there is any."""
        return next(((one.assignment, one.thread) for one in self._runs if one.recipe is recipe), None)

    def wait(self, recipe: Recipe | None, deadline: float) -> None:
        """Until nobody is at a run of this recipe (None is any) that has been left, or until the deadline."""

        def over() -> bool:
            return not any(recipe in (None, one.recipe) and not one.assignment.wanted for one in self._runs)

        with self._changed:
            self._changed.wait_for(over, max(0.0, deadline - time.monotonic()))


running = Running()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=running.begin_anew)
