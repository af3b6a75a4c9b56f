"""What an epoch needs and the next epoch can use again: workers, the ring, the layout, the way to the device.

An iterator borrows a session from its pipeline and gives it back when it ends, however it ends. Between epochs the
workers are parked in the process-wide pool with the program still loaded, so that another pipeline can take them over.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.spec import Layout
from datarax_mp.order import Order
from datarax_mp.pipeline.feed import Feed, most_steps
from datarax_mp.pipeline.transfer import Output, Transfer, check_sharding, make_transfer
from datarax_mp.ring import Ring
from datarax_mp.workers.crew import Crew, CrewLike, LocalCrew
from datarax_mp.workers.pool import pool, program_numbers
from datarax_mp.workers.program import Program
from datarax_mp.workers.shipping import Shipment

_SPARE_SLOTS = 3  # the caller's batch, the one before (still bound to a name), and one that JAX lets go of late


@dataclass(frozen=True, slots=True)
class Options:
    """The part of a pipeline's arguments that says how batches are made, not which.

    Attributes:
        num_workers: worker processes; 0 works in the calling process.
        prefetch_size: batches that stand ready on the device ahead of the caller.
        output: "jax" or "numpy".
        device: the target device, or None.
        sharding: how rows are split over devices, or None.
        run_steps: steps that a worker does at a time; None leaves it to the feed.
    """

    num_workers: int
    prefetch_size: int
    output: Output
    device: Any
    sharding: Any
    run_steps: int | None = None


class Session:
    """See the module. Made lazily: the first ``start`` serialises the program and starts workers."""

    def __init__(self, program: Program, options: Options) -> None:
        self._program, self._options = program, options
        self._number = next(program_numbers)
        self._lock = threading.Lock()
        self._shipment: Shipment | None = None
        self._layout: Layout | None = None
        self._idle_rings: list[Ring] = []
        self._transfer: Transfer | None = None
        self._closed = False

    def start(self, *, epoch: int, step: int) -> Work:
        """Begin to work on an epoch, from a step on."""
        crew = self._crew()
        try:
            layout = self._find_layout(crew)
            ring = self._ring(layout)
            crew.attach(ring, layout)
        except BaseException:
            crew.kill()
            raise
        options, program = self._options, self._program
        feed = Feed(
            crew,
            ring,
            layout,
            program.order,
            epoch=epoch,
            start=step,
            lendable=self._lendable,
            pad=program.pad_last,
            run_steps=options.run_steps,
        )
        assert self._transfer is not None
        return Work(self, crew, ring, layout, program.order, feed, self._transfer)

    def give_back(self, ring: Ring) -> None:
        """Keep a ring for the next epoch."""
        with self._lock:
            if self._closed or self._idle_rings:
                ring.close()
            else:
                self._idle_rings.append(ring)

    def close(self) -> None:
        """Free everything that no iterator is using; an iterator frees the rest when it ends."""
        with self._lock:
            self._closed = True
            for ring in self._idle_rings:
                ring.close()
            self._idle_rings.clear()
            shipment, self._shipment = self._shipment, None
        if shipment is not None:
            pool().unload(shipment.number)

    @property
    def _lendable(self) -> int:
        return self._options.prefetch_size + _SPARE_SLOTS

    def _crew(self) -> CrewLike:
        if self._options.num_workers == 0:
            return LocalCrew(self._program)
        if self._shipment is None:
            self._shipment = Shipment(self._program, self._number)
        return Crew(self._shipment, self._options.num_workers, probe=self._layout is None)

    def _find_layout(self, crew: CrewLike) -> Layout:
        if self._layout is None:
            layout = crew.layout()
            order, options = self._program.order, self._options
            if options.sharding is not None:
                steps = () if self._program.pad_last or not len(order) else (0, len(order) - 1)
                check_sharding(layout, options.sharding, [order.rows(step) for step in steps] or [order.batch_size])
            self._transfer = make_transfer(
                layout, output=options.output, device=options.device, sharding=options.sharding
            )
            self._layout = layout
        return self._layout

    def _ring(self, layout: Layout) -> Ring:
        with self._lock:
            if self._idle_rings:
                return self._idle_rings.pop()
        workers = self._options.num_workers
        slots = 2 * max(workers, 1) + self._lendable
        steps = self._options.run_steps or most_steps(layout)
        return Ring(slots, steps * layout.block_bytes, shared=workers > 0)


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
    """

    session: Session
    crew: CrewLike
    ring: Ring
    layout: Layout
    order: Order
    feed: Feed
    transfer: Transfer

    def close(self) -> None:
        """End in an orderly way: whatever is still being worked on is discarded when it is done."""
        self.feed.close()
        self.crew.leave()
        self.session.give_back(self.ring)

    def kill(self) -> None:
        """End after something was interrupted halfway: workers and ring are in an unknown state, so they go."""
        self.feed.close()
        self.crew.kill()
        self.ring.close()
