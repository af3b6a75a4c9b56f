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
from datarax_mp.crews.base import Answer, Assignment, Crew
from datarax_mp.feed.chunks import Chunks
from datarax_mp.feed.depth import Depth
from datarax_mp.feed.run_length import RunLength
from datarax_mp.order.reach import Leg
from datarax_mp.recipe.work import Done, Run
from datarax_mp.ring import Ring


class Finished(NamedTuple):
    """A run that has come to its end, and what came of it. Its slot belongs to whoever has taken it."""

    run: Run
    answer: Answer


class Window:
    """Hands steps to a crew and gives the finished runs back in order.

    Where an epoch is over, the next one's first steps are handed out while the last ones of this are still made.

    Args:
        crew: who does the work.
        ring: where it is written.
        legs: which steps; a run has steps of one leg.
        length: how many steps a run has.
        chunks: where runs may end; None is anywhere.
        depth: how many runs a worker may have in hand.
        timeout: seconds that a run may take once it is waited for, or None.
        clock: seconds, for that limit.
    """

    def __init__(
        self,
        crew: Crew,
        ring: Ring,
        legs: Iterator[Leg],
        *,
        length: RunLength,
        chunks: Chunks | None = None,
        depth: Depth,
        timeout: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._crew, self._ring, self._length, self._depth = crew, ring, length, depth
        self._chunks = chunks
        self._timeout, self._clock = timeout if crew.abilities.times_out else None, clock
        self._legs: Iterator[Leg] = legs
        self._epoch = self._next = self._stop = 0  # of the leg that is handed out
        self._handed_out: deque[Assignment] = deque()  # in the order of their steps
        self._answers: dict[Assignment, Answer] = {}

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
        self._hand_out()
        if not self._wait_for_head():
            return None
        assignment = self._handed_out.popleft()
        return Finished(assignment.run, self._answers.pop(assignment))

    def close(self) -> None:
        """Forget what has not been taken. Runs in hand are discarded when their answers come."""
        for assignment in self._answers:
            assignment.discard()
        self._answers.clear()
        self._legs, self._next = iter(()), self._stop
        self._handed_out.clear()

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
                raise self._crew.stuck(self._handed_out[0] if self._handed_out else None, self._timeout)
            # With nothing handed out yet, workers are still busy with an epoch that was left early.
            self._turn(None if patience is None else patience.slice())
        return True

    def _turn(self, seconds: float | None) -> None:
        for assignment, answer in self._crew.answers(seconds):
            self._answers[assignment] = answer
            if isinstance(answer, Done):
                self._depth.took(answer.seconds)
                self._length.observe(assignment.run.steps, answer.seconds)
        if self._crew.abilities.concurrent or not self._head_finished():
            self._hand_out()  # so that nobody idles while the caller is away

    def _head_finished(self) -> bool:
        return bool(self._handed_out) and self._handed_out[0] in self._answers

    def _hand_out(self) -> None:
        depth = self._depth.runs
        while self._crew.has_room(depth) and self._more():
            slot = self._ring.acquire()
            if slot is None:
                return
            steps = self._length.steps
            if self._chunks is not None:
                steps = self._chunks.reach(self._next, self._epoch, steps)
            steps = min(steps, self._stop - self._next)
            assignment = Assignment(Run(self._epoch, self._next, steps, slot), self._ring)
            self._crew.submit(assignment)
            self._handed_out.append(assignment)
            self._next += steps
