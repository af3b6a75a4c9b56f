"""One epoch's batches, in order, out of whatever the workers finish first.

    next step to hand out ----> crew.submit(run, slot) ....> crew.answers() ----> finished[step] ----> next_batch()
                                 bounded by free slots         in any order         reassembled          in order

A *run* is a number of consecutive steps in one slot. It starts at one step and grows while steps turn out to be quick,
so that small batches share the cost of a message and slow ones do not wait for each other. None of this shows in the
stream: which records make a step is arithmetic.

Slots that the user holds, or that JAX holds for computations it has only queued, never stop the feed. It lends out at
most so many that every worker still has room to work; beyond that, batches are delivered as copies in ordinary memory
and their slot is free at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.patience import Patience
from datarax_mp.core.spec import Layout
from datarax_mp.crews.base import Answer, Assignment, Crew
from datarax_mp.feed.host_batch import CopiedBatch, HostBatch, MappedBatch, aligned_copy
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Done, Failed, Run
from datarax_mp.ring import Ring

_RUN_SECONDS = 0.004  # a message costs some 0.1 ms; at this length that is little, and the first batch is not late
_SLOW_SECONDS = 0.020  # from here on a round trip to main costs nothing, and a straggler much


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in place of a batch for which the source or a stage has raised something; it is the last one.

    Attributes:
        error: what is to be raised when the caller has come to it.
    """

    error: BaseException


class Feed:
    """Hands the steps ``[start, epoch.steps)`` of an epoch to a crew and gives their batches back in order.

    Args:
        crew: who does the work.
        ring: where batches are written.
        layout: what is in a batch.
        epoch: the epoch.
        start: the first step.
        lendable: how many slots may be with the user at one time.
        pad: whether the arrays of a short batch have ``batch_size`` rows.
        most_steps: how many steps a run may have.
        adaptive: whether runs grow to that only as far as steps turn out to be quick.
        timeout: seconds that a batch may take once it is waited for, or None.
        tuner: decides how many workers there are, or None.
    """

    def __init__(
        self,
        crew: Crew,
        ring: Ring,
        layout: Layout,
        epoch: Epoch,
        *,
        start: int,
        lendable: int,
        pad: bool,
        most_steps: int,
        adaptive: bool,
        timeout: float | None,
        tuner: WorkerTuner | None,
    ) -> None:
        self._crew, self._ring, self._layout, self._epoch = crew, ring, layout, epoch
        self._lendable, self._pad = lendable, pad
        self._timeout = timeout if crew.abilities.times_out else None
        self._tuner = tuner if crew.abilities.grows else None
        self._next, self._stop = start, epoch.steps
        self._handed_out: deque[Assignment] = deque()  # in the order of their steps
        self._finished: dict[Assignment, Answer] = {}
        # What is left of the run that is being delivered.
        self._run: Generator[HostBatch | Failure, None, None] | None = None
        self._left_in_run = 0
        self._steps = 1 if adaptive else most_steps
        self._most_steps, self._adaptive = most_steps, adaptive
        self._run_seconds = 0.0
        self._away_seconds = 0.0  # between two calls: how long the caller's training step takes
        self._left = time.perf_counter()

    def ready(self) -> bool:
        """Whether ``next_batch`` has a batch without waiting for another process."""
        if self._left_in_run:
            return True
        if not self._crew.abilities.concurrent:
            return self._next < self._stop or bool(self._handed_out)
        self._turn(0)
        return self._head_finished()

    def next_batch(self) -> HostBatch | Failure | None:
        """The next batch in order, waiting for it if need be; None at the end of the epoch.

        Raises:
            WorkerError: workers keep dying, or the batch took longer than the time limit.
            Closed: another thread has closed the pipeline.
        """
        if self._run is None or not self._left_in_run:
            now = time.perf_counter()
            self._away_seconds += 0.2 * ((now - self._left) - self._away_seconds)
            self._hand_out()
            if not self._wait_for_head():
                return None
            assignment = self._handed_out.popleft()
            answer = self._finished.pop(assignment)
            if self._tuner is not None and self._tuner.observe(time.perf_counter() - now, assignment.run.steps):
                self._crew.grow(self._tuner.workers)
            lend = self._ring.leased < self._lendable
            self._run = _batches(self._ring, self._layout, self._epoch, assignment, answer, lend, self._pad)
            self._left_in_run = assignment.run.steps
            self._left = time.perf_counter()
        self._left_in_run -= 1
        batch = next(self._run)
        if not self._left_in_run:
            self._run.close()  # and with it the lease, unless the arrays live on
        return batch

    def close(self) -> None:
        """Forget what is not delivered. Runs in hand are discarded when their answers come."""
        self._run, self._left_in_run = None, 0
        for assignment in self._finished:
            assignment.discard()
        self._finished.clear()
        self._next = self._stop
        self._handed_out.clear()

    def _wait_for_head(self) -> bool:
        """Wait until the next run in order is finished; False at the end of the epoch."""
        patience = None if self._timeout is None else Patience(self._timeout)
        while not self._head_finished():
            if not self._handed_out and self._next >= self._stop:
                return False
            if self._timeout is not None and patience is not None and patience.over():
                raise self._crew.stuck(self._handed_out[0] if self._handed_out else None, self._timeout)
            # With nothing handed out yet, workers are still busy with an epoch that was left early.
            self._turn(None if patience is None else patience.slice())
        return True

    def _turn(self, seconds: float | None) -> None:
        for assignment, answer in self._crew.answers(seconds):
            self._finished[assignment] = answer
            if isinstance(answer, Done):
                self._run_seconds = answer.seconds
                if self._adaptive:
                    self._adapt(assignment.run.steps, answer.seconds)
        if self._crew.abilities.concurrent or not self._head_finished():
            self._hand_out()  # so that nobody idles while the caller is away

    def _head_finished(self) -> bool:
        return bool(self._handed_out) and self._handed_out[0] in self._finished

    def _adapt(self, steps: int, seconds: float) -> None:
        if seconds < _RUN_SECONDS / 2 and steps == self._steps:
            self._steps = min(2 * steps, self._most_steps)
        elif seconds > _RUN_SECONDS * 2:
            self._steps = max(1, steps // 2)

    def _hand_out(self) -> None:
        # One run in hand and one waiting keeps a worker busy while main is away. With slow runs and a caller who is
        # back at once, the second would only wait behind a straggler while others are free.
        depth = 1 if self._run_seconds > max(_SLOW_SECONDS, 10 * self._away_seconds) else 2
        while self._next < self._stop and self._crew.has_room(depth):
            slot = self._ring.acquire()
            if slot is None:
                return
            steps = min(self._steps, self._stop - self._next)
            assignment = Assignment(Run(self._epoch.number, self._next, steps, slot), self._ring)
            self._crew.submit(assignment)
            self._handed_out.append(assignment)
            self._next += steps


def _batches(
    ring: Ring, layout: Layout, epoch: Epoch, assignment: Assignment, answer: Answer, lend: bool, pad: bool
) -> Generator[HostBatch | Failure, None, None]:
    """The batches of one finished run, one by one.

    The lease lives here for as long as there is something to read, and in every batch and array that was read.
    """
    run, written = assignment.run, answer.written
    memory: Any = ring.lease(run.slot)
    even, last, most = epoch.even, epoch.steps - 1, epoch.batch_size  # of equal steps only the last may have fewer rows
    alike = 0
    if lend and even and layout.batch_size == most and not written.skips and not written.shapes:
        alike = min(len(written.infos), last - run.step)
    for place, info in enumerate(written.infos):
        step, skips = run.step + place, written.skips.get(place, ())
        rows = (most if even and step < last else epoch.rows(step)) - len(skips)
        size = rows if not pad else most if even else epoch.width(step)
        start, shapes = place * layout.block_bytes, written.shapes.get(place)
        if lend:
            yield MappedBatch(
                epoch, step, rows, size, info, skips, max(alike - place, 1), layout, memory, start, shapes
            )
        else:
            copies = [aligned_copy(array) for array in layout.rows(memory, start, size, shapes)]
            yield CopiedBatch(epoch, step, rows, size, info, skips, 1, copies)
    if isinstance(answer, Failed):
        # An exception keeps the frames it went through for as long as somebody keeps it, and they would keep the slot.
        memory = None
        yield Failure(answer.error.restore())
