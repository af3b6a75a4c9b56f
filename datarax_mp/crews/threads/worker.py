"""One thread, which serves one crew after the other."""

from __future__ import annotations

import queue
import threading
import weakref
from typing import Protocol, TypeAlias

from datarax_mp.core.undisturbed import undisturbed
from datarax_mp.crews.base import Answer, Job
from datarax_mp.crews.info import WorkerInfo, become_in_thread
from datarax_mp.crews.inside import carry_out
from datarax_mp.crews.threads.gate import ThreadsCode
from datarax_mp.recipe.lane import OpenLanes
from datarax_mp.recipe.lane_executor import executor_of
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.opened import Opened
from datarax_mp.recipe.recipe import Recipe


class Serves(Protocol):
    """What a worker can be asked to join."""

    def serve(self, worker: Worker) -> None:
        """Work, until there is no more to do."""
        ...


class Worker:
    """A thread, started; what the user's code keeps for each thread lasts as long as the pipeline.

    The thread ends when nobody has this object any more, so that none is left over whatever was interrupted.

    Args:
        recipe: what it does.
        opened: the sources that are context managers, which all threads share.
        lanes: those that are open, where records come out of iterators; all threads share them, too.

    Attributes:
        executor: does the work.
        thread: the thread.

    Raises:
        RuntimeError: there can be no further thread.
    """

    def __init__(self, recipe: Recipe, opened: Opened, lanes: OpenLanes) -> None:
        self.executor = executor_of(recipe, ThreadsCode(recipe, opened), lanes)
        self._settled: Layouts | None = None
        self._inbox: Inbox = queue.SimpleQueue()
        weakref.finalize(self, self._inbox.put, None).atexit = False
        # A daemon, because Python waits for others before it lets anybody close what is open.
        self.thread = threading.Thread(target=_run, args=(self._inbox,), name="datarax_mp worker", daemon=True)
        failure = undisturbed(self.thread.start)
        if failure is not None:
            raise failure

    def join(self, crew: Serves, info: WorkerInfo) -> None:
        """Serve a crew, as the worker that ``info`` says, when it is through with what it is at."""
        self._inbox.put((self, crew, info))

    def end(self) -> None:
        """End the thread, when it is through with what it is at."""
        self._inbox.put(None)

    def perform(self, job: Job, layouts: Layouts) -> Answer:
        """Do a run, or read a block; called by the thread."""
        if self._settled is not layouts:
            self.executor.settle(layouts)
            self._settled = layouts
        return carry_out(self.executor, job)

    def serve(self, crew: Serves, info: WorkerInfo) -> None:
        """Work for a crew; called by the thread."""
        become_in_thread(info)
        self.thread.name = f"datarax_mp worker {info.index}"
        crew.serve(self)


Inbox: TypeAlias = queue.SimpleQueue[tuple[Worker, Serves, WorkerInfo] | None]


def _run(inbox: Inbox) -> None:
    while (joined := inbox.get()) is not None:
        worker, crew, info = joined
        worker.serve(crew, info)
        del worker, crew, joined  # the next one may be long in coming
