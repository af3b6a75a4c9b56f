"""The batches of an epoch, or of several, in order, out of whatever the workers finish first.

    window (hands out, puts in order)  --run-->  lending (leased or copied)  --batch-->  next_batch()

A *run* is some consecutive steps in one slot, so that small batches share the cost of a message (``run_length``).
None of this shows in the stream: which records make a step is arithmetic.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator

from datarax_mp.core.spec import Layout
from datarax_mp.crews.base import Crew
from datarax_mp.feed.chunks import Chunks
from datarax_mp.feed.depth import Depth
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.feed.lane_window import LaneWindow
from datarax_mp.feed.lending import Failure, Lending
from datarax_mp.feed.ring_plan import RingPlan
from datarax_mp.feed.run_length import RunLength
from datarax_mp.feed.shelf import Shelf
from datarax_mp.feed.timings import Timings
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.feed.window import Window
from datarax_mp.order import Order
from datarax_mp.order.lanes import LaneOrder
from datarax_mp.order.reach import Leg
from datarax_mp.order.readings import goes_by_blocks, needed, windows_at_once
from datarax_mp.recipe.work import Done
from datarax_mp.ring import Ring


class Feed:
    """Has steps made by a crew and gives their batches in order.

    Args:
        crew: who does the work.
        ring: where batches are written.
        layout: what is in a batch.
        order: which records make a step.
        legs: which steps.
        plan: the ring's shape: how many steps a run may have, how many slots may be with the user.
        padded: whether batches that are not full are filled up.
        adaptive: whether runs grow to the most steps only as far as these turn out to be quick.
        timeout: seconds that a batch may take once it is waited for, or None.
        tuner: decides how many workers there are, or None.
        chunks: which steps are to lie together, in one run, or None.
        timings: told how long everybody took.
        block_budget: bytes that blocks of the source may take, where it is read in blocks, or None.
        shelves: whether such blocks are read for all workers at once.
        clock: seconds.
    """

    def __init__(
        self,
        crew: Crew,
        ring: Ring,
        layout: Layout,
        order: Order,
        legs: Iterator[Leg],
        *,
        plan: RingPlan,
        padded: bool,
        adaptive: bool,
        timeout: float | None,
        tuner: WorkerTuner | None,
        chunks: Chunks | None = None,
        timings: Timings | None = None,
        block_budget: int | None = None,
        shelves: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._crew, self._clock = crew, clock
        self._tuner = tuner if crew.abilities.grows else None
        self._depth = Depth(clock())
        self._timings = Timings() if timings is None else timings
        self._timings.begin()
        self._left = clock()
        shelf = None
        if shelves and goes_by_blocks(order):
            legs, theirs = itertools.tee(legs)
            windows = (window for leg in theirs for window in needed(order, leg))
            shelf = Shelf(windows, most=windows_at_once(order), budget=block_budget, ahead=crew.abilities.concurrent)
        self._replaced = crew.replaced
        if isinstance(order, LaneOrder):
            self._window: Window = LaneWindow(
                crew,
                ring,
                order,
                legs,
                depth=self._depth,
                timeout=timeout,
                timings=self._timings,
                clock=clock,
            )
        else:
            self._window = Window(
                crew,
                ring,
                legs,
                block_bytes=layout.block_bytes,
                length=RunLength(plan.steps, adaptive=adaptive, unit=min(plan.steps, chunks.most) if chunks else 1),
                chunks=chunks,
                depth=self._depth,
                shelf=shelf,
                timeout=timeout,
                timings=self._timings,
                clock=clock,
            )
        self._lending = Lending(ring, layout, order, most=plan.lendable, padded=padded, timings=self._timings)
        # What is left of the run that is being delivered.
        self._run: Generator[HostBatch | Failure, None, None] | None = None
        self._left_in_run = 0

    def ready(self) -> bool:
        """Whether ``next_batch`` has a batch without waiting for another process."""
        return self._left_in_run > 0 or self._window.ready()

    def next_batch(self) -> HostBatch | Failure | None:
        """The next batch in order, waiting for it if need be; None at the end.

        Raises:
            WorkerError: workers keep dying, or the batch took longer than the time limit.
            Closed: another thread has closed the pipeline.
        """
        if self._run is None or not self._left_in_run:
            now = self._timings.state[0] = self._clock()
            self._depth.came(now)
            tracer = self._timings.tracer
            finished = self._window.take() if tracer is None else tracer.waiting(self._window.take)
            if finished is None:
                return None
            steps, waited = finished.run.steps, self._clock() - now
            if isinstance(finished.answer, Done):
                timings, done = self._timings, finished.answer
                timings.gave(away=now - self._left, waited=waited, done=done, steps=steps, now=now)
            if self._crew.replaced != self._replaced:
                self._timings.replaced += self._crew.replaced - self._replaced
                self._replaced = self._crew.replaced
            if self._tuner is not None and self._tuner.observe(waited, steps):
                self._crew.grow(self._tuner.workers)
            self._run, self._left_in_run = self._lending.batches(finished), steps
            self._left = self._timings.state[1] = self._clock()
            self._depth.left(self._left)
        self._left_in_run -= 1
        batch = next(self._run)
        if not self._left_in_run:
            self._run.close()  # and with it the lease, unless the arrays live on
        return batch

    def close(self) -> None:
        """Forget what is not delivered. Runs in hand are discarded when their answers come."""
        self._run, self._left_in_run = None, 0
        self._window.close()
