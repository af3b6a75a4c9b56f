"""Handing out steps of lanes: nobody knows how many there are, and a lane's next one needs the answer to its last.

    step           0  1  2 | 3  4  5 | 6 ...     of 3 lanes: at most 3 are in hand, one of each lane
    lane           0  1  2   0  1  2   0         step 3 is handed out when step 0 is answered, in this order

An answer says where its lane stands and whether it has ended, so that this knows all lanes' cursors, twice: as far as
steps are answered, to hand out, and as far as they are taken, to say with each step what a state is made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from datarax_mp.crews.base import Assignment, Crew, OfRun
from datarax_mp.feed.depth import Depth
from datarax_mp.feed.run_length import RunLength
from datarax_mp.feed.timings import Timings
from datarax_mp.feed.window import Finished, Window
from datarax_mp.order.lanes import BEGIN, LaneCursor, LaneOrder
from datarax_mp.order.reach import Leg
from datarax_mp.recipe.work import AtLane, Done, Run
from datarax_mp.ring import Ring


class LaneWindow(Window):
    """See the module; arguments as for ``Window``.

    An epoch is over when all lanes have ended; the next one begins then, unless this one had no record at all.
    """

    def __init__(
        self,
        crew: Crew,
        ring: Ring,
        order: LaneOrder,
        legs: Iterator[Leg],
        *,
        depth: Depth,
        timeout: float | None,
        timings: Timings | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        length = RunLength(1, adaptive=False)
        super().__init__(
            crew,
            ring,
            legs,
            block_bytes=ring.slot_bytes,
            length=length,
            depth=depth,
            timeout=timeout,
            timings=timings,
            clock=clock,
        )
        self._order, self._lanes = order, order.lines.lanes
        self._cursors: list[LaneCursor] = []  # as far as steps are answered; none before the first epoch
        self._busy: set[int] = set()  # lanes that a step is in hand of
        self._barren = False  # whether this epoch was begun here, and has had no record so far
        self._taken: tuple[int, list[LaneCursor]] = (-1, [])  # an epoch, and as far as its steps are taken

    def take(self) -> Finished | None:
        """See ``Window``; with the order as it is after the step."""
        finished = super().take()
        if finished is None or not isinstance(finished.answer, Done):
            return finished
        run, came = finished.run, finished.answer.written.lane
        assert run.lane is not None and came is not None
        epoch, cursors = self._taken
        if epoch != run.epoch:
            self._taken = _, cursors = run.epoch, list(self._order.cursors(run.epoch))
        cursors[run.lane.number] = came.cursor
        numbers = np.frombuffer(came.numbers, np.int64)
        return finished._replace(order=self._order.tell(run.epoch, tuple(cursors), numbers))

    def _more(self) -> bool:
        while all(cursor.ended for cursor in self._cursors):
            leg = None if self._barren else next(self._legs, None)
            if leg is None:
                return False
            self._epoch, self._next = leg.epoch.number, leg.start
            self._cursors = list(self._order.cursors(self._epoch))
            self._barren = all(cursor == BEGIN for cursor in self._cursors)
        while self._cursors[self._next % self._lanes].ended:
            self._next += 1
        return True

    def close(self) -> None:
        """See ``Window``."""
        super().close()
        self._cursors = []

    def _came(self, assignment: Assignment, answer: OfRun) -> None:
        super()._came(assignment, answer)
        if isinstance(answer, Done):
            lane, came = assignment.run.lane, answer.written.lane
            assert lane is not None and came is not None
            self._cursors[lane.number] = came.cursor
            self._busy.discard(lane.number)
            self._barren = self._barren and not came.numbers

    def _hand_out_run(self) -> bool:
        lane = self._next % self._lanes
        slot = None if lane in self._busy else self._slot(self._block_bytes)
        if slot is None:
            return False
        run = Run(self._epoch, self._next, 1, slot, self._closely, AtLane(lane, self._cursors[lane]))
        self._busy.add(lane)
        self._submit(Assignment(run, self._ring))
        return True
