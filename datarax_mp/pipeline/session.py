"""What an epoch needs and the next epoch can use again: workers, the ring, the layout, the way to the device.

An iterator borrows a session from its pipeline and gives it back when it ends, however it ends. Between epochs the
workers are parked in the process-wide pool with the recipe still loaded, so that another pipeline can take them over.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from datarax_mp.core.spec import Layout
from datarax_mp.core.waker import Waker
from datarax_mp.crews.auto.verdict import Decision
from datarax_mp.crews.base import Crew
from datarax_mp.crews.choose import choose
from datarax_mp.delivery.base import Bound, Delivery
from datarax_mp.delivery.dma import dma_client, memory_class, register
from datarax_mp.feed.chunked import ChunkedFeed
from datarax_mp.feed.chunks import Chunks
from datarax_mp.feed.feed import Feed
from datarax_mp.feed.ring_plan import AUTO_BUDGET, CHUNK_BYTES, RingPlan, plan_ring
from datarax_mp.feed.timings import Timings
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.order.epoch import Epoch
from datarax_mp.order.lanes import LaneOrder
from datarax_mp.order.reach import Reach
from datarax_mp.order.readings import goes_by_blocks
from datarax_mp.pipeline.options import Options
from datarax_mp.pipeline.state import Position
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.ring import Ring


class Session:
    """See the module. Made lazily: the first ``start`` serialises the recipe and starts workers.

    Later ones look for what the user has changed in it, and have the workers load it anew if need be.

    Args:
        recipe: what is done to records, and in which order they come.
        options: how it is done.
        delivery: makes of host batches what the user gets.
        timings: told how long everybody took.
        decision: what ``workers="auto"`` has come to, where others are to know it.
    """

    def __init__(
        self,
        recipe: Recipe,
        options: Options,
        delivery: Delivery,
        timings: Timings | None = None,
        decision: Decision | None = None,
    ) -> None:
        self._timings = Timings() if timings is None else timings
        self._recipe, self._options, self._delivery = recipe, options, delivery
        self._decision = Decision() if decision is None else decision
        self._engine = choose(
            recipe,
            workers=options.workers,
            num_workers=options.num_workers,
            fewer=options.auto,
            restart=options.restart_workers,
            timeout=options.timeout,
            decision=self._decision,
        )
        self._process = os.getpid()
        self._layouts: Layouts | None = None  # known when the first record has been read, for all epochs
        self._plans: dict[int, RingPlan] = {}  # by how many steps come together
        self._idle_rings: deque[Ring] = deque()  # without a lock: finalizers use it too, in the middle of anything
        self._tuner = WorkerTuner(options.num_workers) if options.auto else None
        self._closed = False

    def start(self, *, at: Position, reach: Reach, chunks: Chunks | None, waker: Waker) -> Work:
        """Begin to work on an epoch, and on those that follow it if that is wanted.

        Args:
            at: where to begin, in the recipe's order.
            reach: how far it goes.
            chunks: which of them come together, or None.
            waker: ends every wait for workers.
        """
        if self._process != os.getpid():  # forked by the user: the ring that lies ready is the parent's
            self._process = os.getpid()
            self._idle_rings.clear()
        workers = self._options.num_workers if self._tuner is None else self._tuner.workers
        if self._recipe.cache is not None:
            self._recipe.cache.renew(self._recipe)
        began = time.perf_counter()
        crew = self._engine.crew(at.epoch, size=workers, probe=self._layouts is None, waker=waker)
        try:
            start = self._timings.start
            if self._decision.seconds:
                start.setdefault("choosing", self._decision.seconds)
            start.setdefault("workers", max(time.perf_counter() - began - self._decision.seconds, 0.0))
            self._timings.opening(crew, time.perf_counter())
            layouts = self._prepare(crew)
            if chunks is not None:
                chunks = chunks.within(CHUNK_BYTES // layouts.delivered.block_bytes)
            plan = self._plan(layouts, chunks)
            ring = self._ring(plan.slots, plan.steps * layouts.delivered.block_bytes, crew)
            crew.attach(ring, layouts)
            return self._begin(crew, ring, plan, Epoch(at.order, at.epoch), at.step, reach, chunks)
        except BaseException:
            crew.kill()
            raise

    def _begin(
        self,
        crew: Crew,
        ring: Ring,
        plan: RingPlan,
        epoch: Epoch,
        step: int,
        reach: Reach,
        chunks: Chunks | None,
    ) -> Work:
        if self._tuner is not None:
            self._tuner.begin()
        assert self._layouts is not None
        layout = self._layouts.delivered
        feed = Feed(
            crew,
            ring,
            layout,
            epoch.order,
            reach.legs(epoch.order, epoch.number, step),
            plan=plan,
            padded=self._recipe.pad,
            adaptive=self._options.run_steps is None,
            timeout=self._options.timeout,
            tuner=self._tuner,
            chunks=chunks,
            timings=self._timings,
            block_budget=self._block_budget(plan, layout),
            # With a cache, blocks are read for the records that it lacks, and no others.
            shelves=self._engine.shelves and self._recipe.cache is None,
        )
        if chunks is None:
            return Work(self, crew, ring, feed, self._delivery.open(layout, epoch, plan.steps))
        bound = self._delivery.open_stacked(layout, epoch, bare=chunks.filled)
        return Work(self, crew, ring, ChunkedFeed(feed, chunks), bound)

    @property
    def timings(self) -> Timings:
        """How long everybody took."""
        return self._timings

    @property
    def layouts(self) -> Layouts | None:
        """What batches hold, before and after the stages for batches; None before the first one."""
        return self._layouts

    @property
    def block_bytes(self) -> int:
        """Bytes of a batch; 0 before the first one."""
        return 0 if self._layouts is None else self._layouts.delivered.block_bytes

    @property
    def stage_names(self) -> list[str]:
        """The host stages, as whoever makes batches numbers them."""
        return [stage.name for stage in self._recipe.stages]

    @property
    def layout(self) -> Layout:
        """What a batch holds when the stages are through; known when an epoch has been started."""
        assert self._layouts is not None
        return self._layouts.delivered

    def give_back(self, ring: Ring) -> None:
        """Keep a ring for the next epoch."""
        self._idle_rings.append(ring)
        self._keep_rings(0 if self._closed else 1)
        if self._closed:  # meanwhile, by a signal handler say; then the workers had not been parked yet
            self._engine.close()

    def close(self) -> None:
        """Free everything that no iterator is using; an iterator frees the rest when it ends."""
        self._closed = True
        self._keep_rings(0)
        self._engine.close()

    def finish(self, deadline: float) -> None:
        """Wait until nobody is busy with this recipe; workers that still are at the deadline are killed."""
        self._engine.finish(deadline)

    def _keep_rings(self, most: int) -> None:
        while len(self._idle_rings) > most:
            with suppress(IndexError):  # another thread was quicker
                self._idle_rings.popleft().close()

    def _prepare(self, crew: Crew) -> Layouts:
        """What the first epoch finds out for all of them."""
        if self._layouts is None:
            began = time.perf_counter()
            layouts = crew.layouts()
            start = self._timings.start
            start.setdefault("loading", max(time.perf_counter() - began - layouts.seconds, 0.0))
            start.setdefault("record", layouts.seconds)
            self._delivery.check(layouts.delivered, self._recipe.order)
            self._layouts = layouts
        return self._layouts

    def _plan(self, layouts: Layouts, chunks: Chunks | None) -> RingPlan:
        together, options = 1 if chunks is None else chunks.most, self._options
        budget = options.memory_budget
        if budget is not None and goes_by_blocks(self._recipe.order):
            budget //= 2  # the other half is for blocks of the source
        if together not in self._plans:
            self._plans[together] = plan_ring(
                layouts.delivered.block_bytes,
                workers=options.num_workers,
                prefetch_size=options.prefetch_size,
                run_steps=1 if isinstance(self._recipe.order, LaneOrder) else options.run_steps,
                budget=AUTO_BUDGET if options.auto and budget is None else budget,
                strict=budget is not None,
                together=together,
            )
        return self._plans[together]

    def _block_budget(self, plan: RingPlan, layout: Layout) -> int | None:
        """Bytes that blocks of the source may take; what the ring leaves."""
        budget = self._options.memory_budget
        return None if budget is None else budget - plan.slots * plan.steps * layout.block_bytes

    def _ring(self, slots: int, slot_bytes: int, crew: Crew) -> Ring:
        with suppress(IndexError):
            ring = self._idle_rings.pop()
            # Of what other workers are at, this crew would never hear. They are with another iterator, or lost.
            heard = ring.filling <= crew.holds(ring) and (ring.segment is None or ring.segment.intact())
            if heard and ring.fits(slots, slot_bytes):
                return ring
            ring.close()
        device = self._delivery.device()
        if device is None or (client := dma_client(device)) is None:
            return Ring(slots, slot_bytes, shared=self._engine.shared)
        ring = Ring(slots, slot_bytes, shared=self._engine.shared, kind=memory_class())
        ring.reserve()
        register(ring.memory, client, device)
        return ring


@dataclass(slots=True)
class Work:
    """A session at work for one iterator.

    Attributes:
        session: where it came from.
        crew: who works.
        ring: where batches are written; None once it is given back or closed.
        feed: the batches in order.
        bound: makes of them what the user gets.
        whole: whether all that was begun has come to its end. Whoever talks to the crew or hands slots on makes this
            False until that is through, so that it is False after an exception, wherever it came from.
    """

    session: Session
    crew: Crew
    ring: Ring | None
    feed: Feed | ChunkedFeed
    bound: Bound[Any]
    whole: bool = True

    def close(self) -> None:
        """End in an orderly way: whatever is still being worked on is discarded when it is done."""
        if not self.whole:
            self.kill()
            return
        self.whole = False
        self.feed.close()
        self.crew.leave()
        ring, self.ring = self.ring, None
        if ring is not None:  # killed meanwhile, by a signal handler
            self.session.give_back(ring)

    def kill(self) -> None:
        """End after something was interrupted halfway: workers and ring are in an unknown state, so they go.

        That may have been ``close``, or this, which may be called again.
        """
        self.whole = False
        self.feed.close()
        self.crew.kill()
        ring, self.ring = self.ring, None
        if ring is not None:
            ring.close()


class Resumed(NamedTuple):
    """Where an iterator goes on.

    Attributes:
        session: what makes the batches there.
        position: the place.
        reach: how far it goes from there.
    """

    session: Session
    position: Position
    reach: Reach
