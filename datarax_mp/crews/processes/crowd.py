"""More workers than there are cores for: as many get work as cores can serve, so that they do not take turns on them.

    workers     [ 1 ] [ 2 ] [ 3 ] [ 4 ]       two cores, and each wants one all of the time
    get work      x     x     .     .
    one is late   -     x     x     .         it waits for a disk, say, or was stopped

Processes that take turns on a core empty its cache for one another: four that decode photographs on two cores take 13 %
more CPU time for a batch than two. How many cores a worker wants is what it says of runs that it has looked at closely:
for how much of its time it has had a core, and for how much it waited for one. Workers that wait for a disk or a
network want little, so that more of them than cores get work. Where the system does not say for how long a process
waits for a core, all of them do.

Which records make a batch does not depend on any of this.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from datarax_mp.core.cores import usable_cores
from datarax_mp.recipe.work import Done

_STARVING = 0.1  # a share of the workers' time: less is anybody's noise
_LOOKS = 8  # runs that were looked at, before which nothing is said
_KEPT = 0.9  # of what is known, with each run more: what a worker needs may change with the data
_LATE_RUNS, _LATE_SECONDS = 4, 0.1  # who is at a run for so many times as long as one takes, and longer, is late


class Busy(Protocol):
    """A worker, as far as it matters here."""

    @property
    def pending(self) -> Mapping[int, object]:
        """What it has in hand."""
        ...

    @property
    def since(self) -> float:
        """When it was given something after it had nothing, or has answered last, by the clock."""
        ...


Worker = TypeVar("Worker", bound=Busy)


class Crowd:
    """Decides how many workers get work.

    Args:
        limited: whether there may be workers that get none.
        cores: says how many cores there are; asked once, when that first matters.
        clock: seconds, as in ``Busy.since``.

    Attributes:
        most: so many workers get work as are in time; None is all of them.
    """

    def __init__(
        self,
        *,
        limited: bool = True,
        cores: Callable[[], int] = usable_cores,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._limited, self._usable_cores, self._clock = limited, cores, clock
        self._cores = 0
        self._looks = 0
        self._seconds = self._computed = self._starved = 0.0
        self._late = _LATE_SECONDS
        self.most: int | None = None

    def took(self, done: Done) -> None:
        """A run has been done, by a worker that has perhaps looked at it closely."""
        self._late = max(_LATE_SECONDS, _LATE_RUNS * done.seconds)
        timed = done.timed
        if not self._limited or timed is None or not timed.parts:
            return
        self._looks += 1
        self._seconds = _KEPT * self._seconds + timed.seconds
        self._computed = _KEPT * self._computed + timed.computed
        self._starved = _KEPT * self._starved + timed.starved
        if self._looks >= _LOOKS and (self.most is not None or self._starved > _STARVING * self._seconds):
            self._cores = self._cores or self._usable_cores()
            wanted = (self._computed + self._starved) / self._seconds
            self.most = max(self._cores, round(self._cores / wanted)) if wanted else None

    def working(self, workers: Sequence[Worker]) -> Sequence[Worker]:
        """Those of the workers that get work: all of them where none is in time."""
        return workers if self._is_small(workers) else self._in_time(workers, self._clock()) or workers

    def patience(self, workers: Sequence[Worker]) -> float | None:
        """Seconds until one of those that get work is late, so that another is to have some; None if none will be."""
        if self._is_small(workers):
            return None
        now = self._clock()
        chosen = self._in_time(workers, now)
        left = [worker.since + self._late - now for worker in chosen if worker.pending]
        return min(left) if left and len(chosen) == self.most else None

    def spare(self, workers: Sequence[Worker]) -> int:
        """How many get none as long as the others are in time."""
        return 0 if self.most is None else max(len(workers) - self.most, 0)

    def _is_small(self, workers: Sequence[Worker]) -> bool:
        return self.most is None or self.most >= len(workers)

    def _in_time(self, workers: Sequence[Worker], now: float) -> list[Worker]:
        in_time = (worker for worker in workers if not worker.pending or now - worker.since <= self._late)
        return list(itertools.islice(in_time, self.most))
