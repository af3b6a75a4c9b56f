"""What an epoch needs and the next epoch can use again: workers, the ring, the layout, the way to the device.

An iterator borrows a session from its pipeline and gives it back when it ends, however it ends. Between epochs the
workers are parked in the process-wide pool with the program still loaded, so that another pipeline can take them over.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.spec import Layout
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Crew
from datarax_mp.crews.choose import choose
from datarax_mp.delivery.grouped import Groups, Together
from datarax_mp.delivery.placement import check_fields
from datarax_mp.delivery.transfer import Transfer, make_together, make_transfer
from datarax_mp.feed.feed import Feed
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.feed.ring_plan import AUTO_BUDGET, RingPlan, plan_ring
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.order import Order
from datarax_mp.order.epoch import Epoch
from datarax_mp.pipeline.options import Options
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.ring import Ring

Deliver = Callable[[HostBatch, "Work", int], Any]
HandOver = Callable[[Any], Any]


class Session:
    """See the module. Made lazily: the first ``start`` serialises the program and starts workers.

    Later ones look for what the user has changed in it, and have the workers load it anew if need be.

    Args:
        program: what is done to records, and in which order they come.
        options: how it is done.
        deliver: makes of a host batch what the user gets.
        hand_over: what is still to be done with it at the moment when the user gets it, or None.
    """

    def __init__(self, program: Recipe, options: Options, deliver: Deliver, hand_over: HandOver | None = None) -> None:
        self._program, self._options, self.deliver, self.hand_over = program, options, deliver, hand_over
        self._engine = choose(
            program,
            num_workers=options.num_workers,
            fewer=options.auto,
            restart=options.restart_workers,
            timeout=options.timeout,
        )
        self._process = os.getpid()
        self._layouts: Layouts | None = None
        self._idle_rings: deque[Ring] = deque()  # without a lock: finalizers use it too, in the middle of anything
        self._transfer: Transfer | None = None
        self._together: Together | None = None
        self._plan: RingPlan | None = None
        self._tuner = WorkerTuner(options.num_workers) if options.auto else None
        self._closed = False

    def start(self, *, epoch: int, step: int, steps: int | None, waker: Waker) -> Work:
        """Begin to work on an epoch, from a step on; so many steps, or all. ``waker`` ends every wait for workers."""
        if self._process != os.getpid():  # forked by the user: the ring that lies ready is the parent's
            self._process = os.getpid()
            self._idle_rings.clear()
        workers = self._options.num_workers if self._tuner is None else self._tuner.workers
        crew = self._engine.crew(epoch, size=workers, probe=self._layouts is None, waker=waker)
        try:
            layouts = self._find_layouts(crew)
            layout = layouts.delivered
            plan, ring = self._ring(layout, crew)
            crew.attach(ring, layouts)
        except BaseException:
            crew.kill()
            raise
        if self._tuner is not None:
            self._tuner.begin()
        options, program = self._options, self._program
        feed = Feed(
            crew,
            ring,
            layout,
            Epoch(program.order, epoch),
            start=step,
            stop=None if steps is None else step + steps,
            plan=plan,
            padded=program.pad,
            adaptive=options.run_steps is None,
            timeout=options.timeout,
            tuner=self._tuner,
        )
        transfer = self._transfer
        assert transfer is not None
        together = self._together
        move = (lambda batch: transfer(batch.arrays())) if together is None else Groups(together, transfer)
        return Work(self, crew, ring, layout, program.order, feed, transfer, move)

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
        """Wait until nobody is busy with this program; workers that still are at the deadline are killed."""
        self._engine.finish(deadline)

    def _keep_rings(self, most: int) -> None:
        while len(self._idle_rings) > most:
            with suppress(IndexError):  # another thread was quicker
                self._idle_rings.popleft().close()

    def _find_layouts(self, crew: Crew) -> Layouts:
        if self._layouts is None:
            layouts = crew.layouts()
            layout = layouts.delivered
            order, options = self._program.order, self._options
            if options.sharding is not None:
                check_fields(layout, options.sharding, order, padded=self._program.pad)
            self._transfer = make_transfer(
                layout,
                output=options.output,
                device=options.device,
                sharding=options.sharding,
                shards=order.shard_count,
            )
            self._plan = plan_ring(
                layout.block_bytes,
                workers=options.num_workers,
                prefetch_size=options.prefetch_size,
                run_steps=options.run_steps,
                budget=AUTO_BUDGET if options.auto and options.memory_budget is None else options.memory_budget,
                strict=options.memory_budget is not None,
            )
            if options.run_steps is None:  # not for single elements
                self._together = make_together(
                    layout, self._plan.steps, output=options.output, device=options.device, sharding=options.sharding
                )
            self._layouts = layouts
        return self._layouts

    def _ring(self, layout: Layout, crew: Crew) -> tuple[RingPlan, Ring]:
        plan = self._plan
        assert plan is not None
        with suppress(IndexError):
            ring = self._idle_rings.pop()
            # Of what other workers are at, this crew would never hear. They are with another iterator, or lost.
            if ring.filling <= crew.holds(ring) and (ring.segment is None or ring.segment.intact()):
                return plan, ring
            ring.close()
        return plan, Ring(plan.slots, plan.steps * layout.block_bytes, shared=self._engine.shared)


@dataclass(slots=True)
class Work:
    """A session at work on one epoch.

    Attributes:
        session: where it came from.
        crew: who works.
        ring: where batches are written.
        layout: what a batch holds.
        order: which records make a step.
        feed: the epoch's batches in order.
        transfer: the way to the device.
        move: the same for whole batches, maybe several at a time.
        whole: whether all that was begun has come to its end. Whoever talks to the crew or hands slots on makes this
            False until that is through, so that it is False after an exception, wherever it came from.
    """

    session: Session
    crew: Crew
    ring: Ring
    layout: Layout
    order: Order
    feed: Feed
    transfer: Transfer
    move: Callable[[HostBatch], dict[str, Any]]
    whole: bool = True

    def close(self) -> None:
        """End in an orderly way: whatever is still being worked on is discarded when it is done."""
        if not self.whole:
            self.kill()
            return
        self.whole = False
        self.feed.close()
        self.crew.leave()
        self.session.give_back(self.ring)

    def kill(self) -> None:
        """End after something was interrupted halfway: workers and ring are in an unknown state, so they go."""
        self.whole = False
        self.feed.close()
        self.crew.kill()
        self.ring.close()
