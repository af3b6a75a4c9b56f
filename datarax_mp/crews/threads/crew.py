"""The threads of one iterator."""

from __future__ import annotations

import logging
import queue
import sys
import threading
import traceback
import weakref
from collections.abc import Callable

from datarax_mp.core.errors import WorkerError, WorkerTimeoutError
from datarax_mp.core.patience import Patience
from datarax_mp.core.strays import is_interruption
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Abilities, Answer, Closed, Crew, Job, Member
from datarax_mp.crews.info import WorkerInfo
from datarax_mp.crews.threads.desk import Desk, Probe, Woken
from datarax_mp.crews.threads.gate import Gate
from datarax_mp.crews.threads.running import running
from datarax_mp.crews.threads.worker import Worker
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Done, Failed, Shelved
from datarax_mp.ring import Ring

log = logging.getLogger("datarax_mp")


class ThreadCrew(Crew):
    """Threads that take runs from one desk; see the package and ``crews.base.Crew``.

    Args:
        recipe: what is done.
        gate: where the user's code is told the epoch.
        lease: gives a thread.
        park: takes it back.
        size: how many threads.
        most: how many there may be.
        epoch: the epoch that begins.
        timeout: seconds that the first record may take, or None.
        waker: used when another thread wants this one to stop waiting.

    Raises:
        WorkerError: not one thread can be started.
    """

    abilities = Abilities(concurrent=True, times_out=True, grows=True)

    def __init__(
        self,
        recipe: Recipe,
        gate: Gate,
        lease: Callable[[], Worker],
        park: Callable[[Worker], None],
        size: int,
        *,
        most: int,
        epoch: int,
        timeout: float | None,
        waker: Waker,
    ) -> None:
        self._recipe, self._lease, self._park = recipe, lease, park
        self._most, self._timeout, self._waker = most, timeout, waker
        self._desk = Desk(recipe, gate, epoch)
        # The net: an exception may come before anybody has this crew.
        weakref.finalize(self, self._desk.leave, discard=False).atexit = False
        self._pending: set[Job] = set()  # handed in, and no answer taken
        self._stuck: set[Job] = set()  # of which a thread does not come back
        self._workers: list[Worker] = []
        waker.ring = self._desk.wake
        self.grow(size)
        if not self._workers:
            raise WorkerError("no thread can be started: this process has as many as it may have, or no memory for one")

    def layouts(self) -> Layouts:
        """Let a thread read the first record and see what a batch holds.

        Raises:
            Exception: what the source or a stage raised.
            ValueError: the user's code draws from global random generators.
        """
        outcome = self.probed()
        if isinstance(outcome, Failed):
            raise outcome.error.restore()
        if outcome is None:
            assert self._timeout is not None
            raise _given_up(self._workers[0].thread, "reading the first record", self._timeout)
        if outcome.draws:
            raise ValueError(
                "the source or a stage draws from a global random generator (np.random, random, torch), which threads "
                "share, so that nobody can say who draws what. Use RandomMapElement, whose generator is the record's "
                "own, or workers='processes'. (If none does: another thread of this program has drawn, twice, while "
                "the first record was read)"
            )
        return outcome

    def probed(self) -> Layouts | Failed | None:
        """What comes of reading the first record; None if nothing does in time."""
        self._desk.hand_in(Probe())
        patience = None if self._timeout is None else Patience(self._timeout)
        while (found := self._take(None if patience is None else patience.slice())) is None:
            if patience is None or patience.over():
                return None
        assert not isinstance(found[1], (Done, Shelved))
        return found[1]

    def holds(self, ring: Ring) -> int:
        """How many slots of a ring threads are still at, for an epoch that was left early."""
        return running.count(ring)

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Write batches as the layouts say; an assignment brings its ring along."""
        self._desk.layouts = layouts

    def has_room(self, depth: int) -> bool:
        """Whether the threads that come back have less than ``depth`` jobs each."""
        return len(self._pending) - len(self._stuck) < depth * (len(self._workers) - len(self._stuck))

    def submit(self, job: Job) -> None:
        """Have it done by the next thread that is free."""
        self._pending.add(job)
        self._desk.hand_in(job)

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        """What has been done since the last call; waited for, for so many seconds."""
        arrived: list[tuple[Job, Answer]] = []
        while (found := self._take(0 if arrived else seconds)) is not None:
            job, answer = found
            assert isinstance(job, Job) and not isinstance(answer, Layouts)
            self._pending.discard(job)
            arrived.append((job, answer))
        return arrived

    def stuck(self, job: Job | None, seconds: float) -> Exception:
        """Say what the thread does that is at a job, and give up waiting for it."""
        if job is None:
            return WorkerTimeoutError(f"no batch came within {seconds:g} s: all threads are still at an earlier epoch")
        self._stuck.add(job)
        thread = running.thread_at(job)
        if thread is None and (other := running.at_work(self._recipe)) is not None:
            at, thread = other
            return _given_up(thread, f"at {at}, and nobody can begin {job} before it is through", seconds)
        return _given_up(thread, f"at {job}", seconds)

    def grow(self, size: int) -> None:
        """Have so many threads from now on, or as many as can be started."""
        while len(self._workers) < size:
            try:
                worker = self._lease()
            except RuntimeError as error:
                if is_interruption(error):
                    raise
                log.warning("no more threads than %d: %s", len(self._workers), error)
                return
            worker.join(self._desk, WorkerInfo(len(self._workers), self._most))
            self._workers.append(worker)

    def members(self) -> list[Member]:
        """The threads."""
        return [Member(worker.thread.native_id or 0) for worker in list(self._workers)]

    def leave(self) -> None:
        """Let go of what is not wanted any more; threads that are still at something are parked all the same."""
        self._leave(discard=True)

    def kill(self) -> None:
        """The same; slots in hand are not given back, since who talked to the crew was interrupted halfway."""
        self._leave(discard=False)

    def _leave(self, *, discard: bool) -> None:
        for job in self._pending:
            job.wanted = False
        self._waker.ring = None
        self._desk.leave(discard=discard)
        lost = {running.thread_at(job) for job in self._stuck}
        while self._workers:
            worker = self._workers.pop()
            if worker.thread not in lost:
                self._park(worker)

    def _take(self, seconds: float | None) -> tuple[Job | Probe, Answer | Layouts] | None:
        """Something that is done; None if there is nothing in time."""
        try:
            found = self._desk.done.get(block=seconds != 0, timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(found, Woken):
            raise Closed
        return found


def _given_up(thread: threading.Thread | None, doing: str, seconds: float) -> WorkerTimeoutError:
    frame = None if thread is None or thread.ident is None else sys._current_frames().get(thread.ident)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else "(it has just come to its end)"
    return WorkerTimeoutError(
        f"no batch came within {seconds:g} s: {'a thread' if thread is None else thread.name} is {doing}, and cannot "
        "be ended, since it is a thread; workers='processes' can. Raise timeout= if this may take so long. Its Python "
        f"stack:\n{stack}"
    )
