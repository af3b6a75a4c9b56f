"""What the threads of a crew and the caller have in common: what is to be done, and what is done."""

from __future__ import annotations

import queue
import threading
from typing import Any

from datarax_mp.crews.base import Answer, Job
from datarax_mp.crews.raised import Raised
from datarax_mp.crews.threads.gate import Gate
from datarax_mp.crews.threads.running import running
from datarax_mp.crews.threads.worker import Worker
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.randomness import put_back
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Failed, Written

_PROBE_SECONDS = 1.0  # for another pipeline's first record, of which most take milliseconds

_probing = threading.Lock()


class Probe:
    """Asks for the layouts."""


class Woken:
    """Another thread wants whoever waits here to stop."""


class Desk:
    """See the module. Threads know it, and not the crew, so that it shows when nobody has the crew any more.

    Args:
        recipe: what is done.
        gate: where the user's code is told the epoch.
        epoch: the epoch that begins.

    Attributes:
        layouts: how batches are written; known before the first run.
        done: what is done, in any order.
    """

    def __init__(self, recipe: Recipe, gate: Gate, epoch: int) -> None:
        self._recipe, self._gate, self._epoch = recipe, gate, epoch
        self.layouts: Layouts | None = None
        self._todo: queue.SimpleQueue[Job | Probe | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[tuple[Job | Probe, Answer | Layouts] | Woken] = queue.SimpleQueue()
        self._taking = threading.Lock()
        self._lock = threading.RLock()  # around: is it wanted? then it is answered, else discarded
        self._left = False

    def hand_in(self, job: Job | Probe) -> None:
        """Have something done by the next thread that is free."""
        self._todo.put(job)

    def wake(self) -> None:
        """Make whoever waits for what is done stop."""
        self.done.put(Woken())

    def leave(self, *, discard: bool) -> None:
        """Nobody wants anything any more; threads go when they are through with what they are at.

        Args:
            discard: whether slots of what has not been begun, or not been taken, are free now.
        """
        with self._lock:
            self._left = True
        for source in (self._todo, self.done):
            while (job := _next(source)) is not None:
                if discard and isinstance(wanted := job[0] if isinstance(job, tuple) else job, Job):
                    wanted.discard()
        self._todo.put(None)

    def serve(self, worker: Worker) -> None:
        """Have a worker do what is to be done, until the crew has left. Called by its thread."""
        while (taken := self._take()) is not None:
            job, refused = taken
            try:
                if isinstance(job, Job):
                    self._perform(worker, job, refused)
                else:
                    self.done.put((job, refused if refused is not None else self._probe(worker)))
            finally:
                if refused is None:
                    self._gate.leave()
            del job, taken  # nobody keeps a ring for having waited
        self._todo.put(None)  # for the next one

    def _take(self) -> tuple[Job | Probe, Failed | None] | None:
        """The next thing to do, when its epoch has come, or what was raised when that was told; None at the end."""
        with self._taking:  # so that who has taken the end of an epoch is inside before anybody begins the next one
            job = self._todo.get()
            if job is None:
                return None
            try:
                self._gate.enter(job.epoch if isinstance(job, Job) else self._epoch)
            except BaseException as error:  # somebody waits for an answer, whatever it is
                return job, Failed(Raised(error), Written.nothing())
            return job, None

    def _probe(self, worker: Worker) -> Layouts | Failed:
        # One after the other: each seeds the global generators and puts them back, which looks to the others as if the
        # user's code had drawn. But not for ever, since a record may be read by way of another pipeline.
        alone = _probing.acquire(timeout=_PROBE_SECONDS)
        try:
            with put_back(quick=False):
                return worker.executor.probe(self._epoch)
        except BaseException as error:  # as above
            return Failed(Raised(error), Written.nothing())
        finally:
            if alone:
                _probing.release()

    def _perform(self, worker: Worker, job: Job, refused: Failed | None) -> None:
        assert self.layouts is not None
        running.begin(self._recipe, job)
        try:
            answer: Answer = worker.perform(job, self.layouts) if refused is None else refused
        except BaseException as error:  # as above
            answer = Failed(Raised(error), Written.nothing())
        with self._lock:
            running.end(job)
            if self._left:
                job.discard()
            else:
                self.done.put((job, answer))


def _next(source: queue.SimpleQueue[Any]) -> Any:
    try:
        return source.get_nowait()
    except queue.Empty:
        return None
