"""Main's side of one actor: what it has been asked, in the order of its answers."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import ray
from ray.exceptions import RayError

from datarax_mp.crews.base import Assignment
from datarax_mp.crews.info import WorkerInfo
from datarax_mp.crews.ray import actor
from datarax_mp.crews.ray.package import Package
from datarax_mp.crews.ray.workers import RayWorkers
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recorder import Sighting

_LOOK_SECONDS = 5.0  # for an answer from another machine about what it is at


class Question(NamedTuple):
    """Something that an actor has been asked.

    Attributes:
        ref: of the answer.
        job: the run, or None where it is to load the recipe or to read the first record.
    """

    ref: ray.ObjectRef
    job: Assignment | None = None


class Worker:
    """One actor, asked for; it may take long until it is there.

    Args:
        options: where it is to be.
        there: whether its Ray still is: any call would begin another one, and another one may be ended by a call about
            an actor of this.

    Attributes:
        info: which one it is.
        recipe_id: the recipe that it has been sent, or None.
        ready: whether it has loaded that.
        pending: what it has been asked and has not answered.
        left: answers that nobody waits for any more, of an iterator that has left.
        where: where it is.
    """

    def __init__(self, options: RayWorkers, there: Callable[[], bool]) -> None:
        more = {"resources": options.resources, "runtime_env": options.runtime_env}
        given = {name: dict(value) for name, value in more.items() if value is not None}
        self._there = there
        self._actor = actor.remote(num_cpus=options.num_cpus, **given)
        self.info = WorkerInfo(0, 1)
        self.recipe_id: int | None = None
        self.ready = False
        self.pending: deque[Question] = deque()
        self.left: list[ray.ObjectRef] = []
        self.where = "not placed yet"

    def __str__(self) -> str:
        return f"Ray actor {self.info.index} ({self.where})"

    def load(self, package: Package, info: WorkerInfo) -> None:
        """Have it load a recipe, as the worker that ``info`` says."""
        self.info, self.ready, self.recipe_id = info, False, package.serialized.recipe_id
        search = [os.path.abspath(folder) for folder in sys.path]  # of the current folder, the text is empty
        self.pending.append(Question(self._actor.load.remote(info, search, package.message, *package.memories)))

    def probe(self, epoch: int) -> None:
        """Have it read the first record."""
        self.pending.append(Question(self._actor.probe.remote(epoch)))

    def settle(self, layouts: Layouts, run_bytes: int) -> None:
        """Have it write as the layouts say. It answers nothing: a run would fail of what fails here."""
        self._actor.settle.remote(layouts, run_bytes)

    def perform(self, job: Assignment) -> None:
        """Have it do a run."""
        self.pending.append(Question(self._actor.perform.remote(job.run), job))

    def jobs(self) -> list[Assignment]:
        """The runs that it has in hand."""
        return [question.job for question in self.pending if question.job is not None]

    def look(self) -> tuple[Sighting, str] | None:
        """What it is at, and its stack; None if it does not say."""
        try:
            return ray.get(self._actor.look.remote(), timeout=_LOOK_SECONDS)
        except RayError:
            return None

    def leave(self) -> None:
        """Nobody waits for its answers any more; what it has not begun, it need not begin."""
        refs = [question.ref for question in self.pending]
        if self._there():
            for ref in refs[1:]:
                ray.cancel(ref)
        self.left = refs
        self.pending.clear()

    def kill(self) -> None:
        """End it, at once."""
        self.pending.clear()
        self.left = []
        if self._there():
            with suppress(RayError, ValueError):  # it is gone
                ray.kill(self._actor)
