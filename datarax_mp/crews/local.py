"""A crew without processes: what ``num_workers=0`` means.

    submit(assignment) ---> done at once, in the calling thread              user code in it, or small batches
                   ---> queue ---> background thread ---> answers()      nothing but copying rows of large arrays

The user's functions always run in the calling thread, where a debugger finds them. Copying rows is NumPy's work alone,
for which NumPy lets go of the interpreter lock; a thread does it while the caller computes.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from contextlib import nullcontext

from datarax_mp.core.strays import is_interruption
from datarax_mp.core.undisturbed import undisturbed
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Abilities, Answer, Crew, Job
from datarax_mp.crews.inside import carry_out
from datarax_mp.crews.raised import Raised
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.lane_executor import executor_of
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.opened import Opened
from datarax_mp.recipe.randomness import is_alone, put_back
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.user_code import UserCode
from datarax_mp.recipe.work import Failed, Written
from datarax_mp.ring import Ring

log = logging.getLogger("datarax_mp")

# Below this a copy is over before a thread has woken up, and the two threads only take the interpreter from each other.
THREAD_BYTES = 256 * 1024


class LocalEngine:
    """The calling process, as ``crews.base.Engine`` says.

    Args:
        recipe: what is done.
    """

    shared = False
    shelves = True

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._opened = recipe, Opened(recipe.source)

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> LocalCrew:
        """What the user has changed in the recipe is there as it is."""
        return LocalCrew(self._recipe, epoch, self._opened)

    def finish(self, deadline: float) -> None:
        """Whoever has left is not at work any more."""

    def close(self) -> None:
        """Leave sources that have been entered."""
        self._opened.leave()


class LocalCrew(Crew):
    """Does the work in the calling process. It is concurrent where there is nothing but rows of large arrays to copy.

    Args:
        recipe: what is done.
        epoch: the epoch that begins.
        opened: the sources that are context managers.
    """

    def __init__(self, recipe: Recipe, epoch: int, opened: Opened) -> None:
        self._executor, self._epoch = executor_of(recipe, UserCode(recipe, opened)), epoch
        self._executor.user_code.begin()
        self._answers: list[tuple[Job, Answer]] = []
        self._background: _Background | None = None
        self.abilities = Abilities()

    def layouts(self) -> Layouts:
        """Read the first record and see what a batch holds."""
        user = self._executor.user_code
        with put_back(quick=False) if user.there else nullcontext():
            return self._executor.probe(self._epoch)

    def holds(self, ring: Ring) -> int:
        """None: whoever leaves waits for what it is at."""
        return 0

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Write batches as the layouts say; an assignment brings its ring along."""
        self._executor.settle(layouts)
        if self._executor.only_copies and layouts.delivered.block_bytes >= THREAD_BYTES:
            try:
                self._background = _Background(self._executor)
            except RuntimeError as error:  # there can be no further thread
                if is_interruption(error):
                    raise
                log.info("batches are made in the calling thread: %s", error)
            else:
                self.abilities = Abilities(concurrent=True)

    def has_room(self, depth: int) -> bool:
        """Whether the thread has less than ``depth`` runs in hand; without one, whether no answer waits to be taken."""
        return not self._answers if self._background is None else self._background.pending < depth

    def submit(self, job: Job) -> None:
        """Do it, or have it done."""
        if self._background is not None:
            self._background.submit(job)
        else:
            self._answers.append((job, _perform(self._executor, job)))

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        """What has been done since the last call; a thread is waited for, for so many seconds."""
        if self._background is not None:
            return self._background.answers(seconds)
        answers, self._answers = self._answers, []
        return answers

    def leave(self) -> None:
        """Let go of what has been done and not been taken."""
        if self._background is not None:
            self._background.close()
        for job, _ in self.answers(0):
            job.discard()

    kill = leave


class _Background:
    """A thread that does runs, one after the other."""

    def __init__(self, executor: Executor) -> None:
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Job, Answer]] = queue.SimpleQueue()
        self.pending = 0
        weakref.finalize(self, self._todo.put, None).atexit = False  # the thread knows nothing of this
        # A daemon, because Python waits for others before it lets anybody close what is open.
        self._thread = threading.Thread(
            target=_work, args=(executor, self._todo, self._done), name="datarax_mp gather", daemon=True
        )
        try:
            failure = undisturbed(self._thread.start)
        except BaseException:
            self._todo.put(None)  # it may run already, and nobody would ever end it
            raise
        if failure is not None:
            raise failure

    def submit(self, job: Job) -> None:
        self.pending += 1
        self._todo.put(job)

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        found: list[tuple[Job, Answer]] = []
        try:
            while self.pending:
                found.append(self._done.get(block=not found and seconds != 0, timeout=seconds))
                self.pending -= 1
        except queue.Empty:
            pass
        return found

    def close(self) -> None:
        """End the thread; it takes as long as the copy that it is at."""
        self._todo.put(None)
        self._thread.join()


def _work(executor: Executor, todo: queue.SimpleQueue[Job | None], done: queue.SimpleQueue[tuple[Job, Answer]]) -> None:
    while (job := todo.get()) is not None:
        try:
            answer = _perform(executor, job)
        except BaseException as error:  # somebody waits for an answer, whatever it is
            answer = Failed(Raised(error), Written.nothing())
        done.put((job, answer))


def _perform(executor: Executor, job: Job) -> Answer:
    user = executor.user_code
    if not user.there:
        return carry_out(executor, job)
    with put_back(quick=not user.draws, drew=lambda: user.draws or is_alone()):
        return carry_out(executor, job)
