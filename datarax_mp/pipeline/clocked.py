"""What main does with a batch, by the clock: of one batch in some, so that the others pay nothing.

    take: to its place --> stands ready --> hand_over --> the caller is away with it --> back

Where somebody wants a trace, every batch is timed.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

from datarax_mp.delivery.base import Bound, HandOver
from datarax_mp.feed.timings import Steps, Timings

MOST = 256  # batches for one that is timed, which costs 4 us, where the caller comes back within a millisecond
_FIRST = 4
_QUICK = 1e-3  # seconds


class Clocked:
    """The clock of one iterator.

    Args:
        timings: told how long everything took.

    Attributes:
        every: of so many batches one is timed.
        away: since when the caller is away with a batch that is timed, or 0.
    """

    def __init__(self, timings: Timings) -> None:
        self.timings = timings
        self.every = _FIRST if timings.tracer is None else 1
        self.away = 0.0
        self._steps: Steps = ()  # that the caller is away with, for a trace

    def around(self, bound: Bound[Any]) -> TimedBound:
        """The way of one batch that is timed."""
        return TimedBound(self, bound)

    def left(self, away: float, steps: Steps) -> None:
        """The caller gets a batch of these steps."""
        self.away, self._steps = away, steps

    def back(self) -> None:
        """The caller comes back, after a batch that was timed."""
        seconds, self.away = time.perf_counter() - self.away, 0.0
        steps, self._steps = self._steps, ()
        self.timings.own.add(seconds)
        self.every = 1 + int(MOST * min(1.0, _QUICK / max(seconds, _QUICK)))
        if (tracer := self.timings.tracer) is not None:
            self.every = 1
            if steps:
                tracer.stepped(steps, seconds)


class TimedBound:
    """Does for one batch what a ``Bound`` does, and takes the time."""

    def __init__(self, clocked: Clocked, bound: Bound[Any]) -> None:
        self._clocked, self._bound = clocked, bound
        self._steps: Steps = ()  # for a trace: not the batch, which has a slot

    @property
    def hand_over(self) -> HandOver:
        """See ``Bound``."""
        return self._hand_over

    def take(self, batch: Any) -> Any:
        """See ``Bound``."""
        tracer = self._clocked.timings.tracer
        if tracer is not None:
            self._steps = tuple((part.epoch.number, part.step) for part in batch.parts)
        with nullcontext() if tracer is None else tracer.taking(self._steps):
            began = time.perf_counter()
            item = self._bound.take(batch)
            self._clocked.timings.moved.add(time.perf_counter() - began)
        return item

    def _hand_over(self, item: Any) -> Any:
        timings, hand_over = self._clocked.timings, self._bound.hand_over
        tracer = timings.tracer if self._steps else None
        with nullcontext() if tracer is None else tracer.handing(self._steps):
            began = time.perf_counter()
            if hand_over is not None:
                item = hand_over(item)
            timings.handed.add(time.perf_counter() - began)
        self._clocked.left(time.perf_counter(), self._steps)
        return item
