"""What is handed out next, and the answers put in order.

    next step ----> crew.submit(run, slot) ....> crew.answers() ----> answers[run] ----> take()
                     bounded by free slots         in any order        put in order       in order
                     and by the depth

The window is what lies between the next step to take and the next one to hand out. It knows neither which records make
a step nor what becomes of an answer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from datarax_mp.core.patience import Patience
from datarax_mp.crews.base import Assignment, Crew, Job, OfRun, Shelving
from datarax_mp.feed.chunks import Chunks
from datarax_mp.feed.depth import Depth
from datarax_mp.feed.run_length import RunLength
from datarax_mp.feed.shelf import Shelf
from datarax_mp.feed.timings import Timings
from datarax_mp.order.reach import Leg
from datarax_mp.order.steps import Order
from datarax_mp.recipe.work import Done, Run, Shelved
from datarax_mp.ring import Ring


class Finished(NamedTuple):
    """A run that has come to its end, and what came of it. Its slot belongs to whoever has taken it.

    Attributes:
        run: what was done.
        answer: what came of it.
        order: the order, where only now it can be said what the run's step has.
    """

    run: Run
    answer: OfRun
    order: Order | None = None


class Window:
    """Hands steps to a crew and gives the finished runs back in order.

    Where an epoch is over, the next one's first steps are handed out while the last ones of this are still made.

    Args:
        crew: who does the work.
        ring: where it is written.
        legs: which steps; a run has steps of one leg.
        block_bytes: bytes that a step takes.
        length: how many steps a run has.
        chunks: where runs may end; None is anywhere.
        depth: how many runs a worker may have in hand.
        shelf: which blocks of the source are read, and when; None where it has none.
        timeout: seconds that a run may take once it is waited for, or None.
        timings: says whether runs are to be looked at closely.
        clock: seconds, for that limit.
    """

    def __init__(
        self,
        crew: Crew,
        ring: Ring,
        legs: Iterator[Leg],
        *,
        block_bytes: int,
        length: RunLength,
        chunks: Chunks | None = None,
        depth: Depth,
        shelf: Shelf | None = None,
        timeout: float | None,
        timings: Timings | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._crew, self._ring, self._block_bytes = crew, ring, block_bytes
        self._length, self._depth = length, depth
        self._chunks, self._shelf, self._timings = chunks, shelf, Timings() if timings is None else timings
        self._timeout, self._clock = timeout if crew.abilities.times_out else None, clock
        self._legs: Iterator[Leg] = legs
        self._epoch = self._next = self._stop = 0  # of the leg that is handed out
        self._takes = 0  # how often a run has been asked for
        self._handed_out: deque[Assignment] = deque()  # in the order of their steps
        self._answers: dict[Assignment, OfRun] = {}
        self._full_since: float | None = None  # no slot is free for a run that a worker has room for

    def ready(self) -> bool:
        """Whether ``take`` has a run without waiting for another process."""
        if not self._crew.abilities.concurrent:
            return bool(self._handed_out) or self._more()
        self._turn(0)
        return self._head_finished()

    def take(self) -> Finished | None:
        """The next run in order, waiting for it if need be; None at the end of the last leg.

        Raises:
            WorkerError: workers keep dying, or the run took longer than the time limit.
            Closed: another thread has closed the pipeline.
        """
        self._takes += 1
        self._hand_out()
        if not self._wait_for_head():
            return None
        assignment = self._handed_out.popleft()
        if self._shelf is not None and self._handed_out:
            head = self._handed_out[0].run
            self._shelf.passed((head.epoch, head.step))
        return Finished(assignment.run, self._answers.pop(assignment))

    def close(self) -> None:
        """Forget what has not been taken. Runs in hand are discarded when their answers come."""
        for assignment in self._answers:
            assignment.discard()
        self._answers.clear()
        self._legs, self._next = iter(()), self._stop
        self._handed_out.clear()
        if self._shelf is not None:
            self._shelf.close()

    def _more(self) -> bool:
        """Whether there is a step that has not been handed out."""
        while self._next >= self._stop:
            leg = next(self._legs, None)
            if leg is None:
                return False
            self._epoch, self._next, self._stop = leg.epoch.number, leg.start, leg.stop
        return True

    def _wait_for_head(self) -> bool:
        """Wait until the next run in order is finished; False at the end of the last leg."""
        patience = None if self._timeout is None else Patience(self._timeout, self._clock)
        while not self._head_finished():
            if not self._handed_out and not self._more():
                return False
            if self._timeout is not None and patience is not None and patience.over():
                raise self._crew.stuck(self._waited_for(), self._timeout)
            # With nothing handed out yet, workers are still busy with an epoch that was left early.
            self._turn(None if patience is None else patience.slice())
        return True

    def _waited_for(self) -> Job | None:
        if self._handed_out:
            return self._handed_out[0]
        return None if self._shelf is None else self._shelf.waiting()

    def _turn(self, seconds: float | None) -> None:
        for job, answer in self._crew.answers(seconds):
            if isinstance(job, Shelving):
                if isinstance(answer, Shelved):
                    self._timings.blocks.add(answer.seconds)
                if self._shelf is not None:
                    self._shelf.came(job, answer)
                continue
            assert not isinstance(answer, Shelved)
            self._came(job, answer)
        if self._crew.abilities.concurrent or not self._head_finished():
            self._hand_out()  # so that nobody idles while the caller is away

    def _came(self, assignment: Assignment, answer: OfRun) -> None:
        self._answers[assignment] = answer
        if isinstance(answer, Done):
            self._depth.took(answer.seconds)
            self._length.observe(assignment.run.steps, answer.seconds)

    def _head_finished(self) -> bool:
        return bool(self._handed_out) and self._handed_out[0] in self._answers

    def _hand_out(self) -> None:
        # Slots are cold at first, and handing out is slow: whoever waits for the first run has it before others wait.
        depth = 1 if self._takes == 1 else self._depth.runs
        while self._crew.has_room(depth) and self._more():
            job = None if self._shelf is None else self._due(self._shelf)
            if job is not None:
                self._crew.submit(job)
            elif not self._hand_out_run():
                break
        if self._shelf is not None and self._crew.abilities.concurrent:
            while self._crew.has_room(depth) and (job := self._shelf.spare()) is not None:
                self._crew.submit(job)

    def _due(self, shelf: Shelf) -> Shelving | None:
        at = self._epoch, self._next
        if not self._handed_out:
            shelf.passed(at)
        return shelf.due(at)

    def _hand_out_run(self) -> bool:
        """Hand out the next steps; False if there is no slot for them, or if they wait for blocks."""
        # As long as nothing has been delivered, no batch is to wait for another one.
        steps, shelved = self._length.first if self._takes <= 1 else self._length.steps, dict[int, Shelved]()
        if self._chunks is not None:
            steps = self._chunks.reach(self._next, self._epoch, steps)
        steps = min(steps, self._stop - self._next)
        if self._shelf is not None:
            steps, shelved = self._shelf.ready((self._epoch, self._next), steps)
        slot = self._slot(steps * self._block_bytes) if steps else None
        if slot is None:
            return False
        self._submit(Assignment(Run(self._epoch, self._next, steps, slot, self._closely), self._ring, shelved))
        return True

    def _slot(self, size: int) -> int | None:
        """A slot for a run of so many bytes, if one is free."""
        slot = self._ring.acquire(size)
        if slot is None:
            if self._full_since is None:
                self._full_since = self._clock()
        elif self._full_since is not None:
            self._timings.full.add(self._clock() - self._full_since)
            self._full_since = None
        return slot

    @property
    def _closely(self) -> bool:
        return self._timings.tracer is not None

    def _submit(self, assignment: Assignment) -> None:
        self._crew.submit(assignment)
        self._handed_out.append(assignment)
        self._next += assignment.run.steps
