"""Where the time of a stream goes, as a feed sees it: who waits for whom, run by run.

    caller away ---- came: next run wanted ---- waited ---- left with it ---- away ....
    worker      ---- made: the run's own seconds, as its answer says

A clock is looked at once a run, not once a batch, so that this costs nothing to speak of where batches are small. One
thread writes; whoever reads sees numbers that only grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_PER_OCTAVE = 4  # buckets for a factor of two: a quantile is right to 10 %
_BUCKETS = 4 * 40  # from a microsecond to two weeks


@dataclass(slots=True)
class Series:
    """Durations of one kind: how many, how long altogether, and a histogram of logarithmic buckets.

    Attributes:
        count: how many.
        total: seconds altogether.
        largest: seconds of the longest.

    >>> series = Series()
    >>> for _ in range(99):
    ...     series.add(0.001)
    >>> series.add(1.0)
    >>> series.count, round(series.total, 3), series.largest, 0.0009 < series.quantile(0.5) < 0.0011
    (100, 1.099, 1.0, True)
    """

    count: int = 0
    total: float = 0.0
    largest: float = 0.0
    _buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def add(self, seconds: float, times: int = 1) -> None:
        """Take note of a duration, or of so many that took the same."""
        self.count += times
        self.total += seconds * times
        self.largest = max(self.largest, seconds)
        place = int(math.log2(max(seconds * 1e6, 1.0)) * _PER_OCTAVE)
        self._buckets[min(place, _BUCKETS - 1)] += times

    def quantile(self, share: float) -> float:
        """Seconds that this share of them does not exceed, by the middle of a bucket; 0 if there are none."""
        wanted, seen = share * sum(self._buckets), 0
        for place, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return min(2 ** ((place + 0.5) / _PER_OCTAVE) * 1e-6, self.largest)
        return 0.0


class Timings:
    """What a pipeline's feeds have seen, over all its epochs.

    Attributes:
        waited: seconds that the caller waited for a batch.
        away: seconds between two batches that it was away: its own step, and what is done with a batch on the way.
        made: seconds that a worker took for a batch.
        moved: seconds that it took to bring a batch to its place; of one batch a run.
        batches: batches that were given.
        copied: batches among them that were copied, because the caller held too many.
        first: seconds waited for the first batches, which say more about the start than about the stream.
    """

    def __init__(self) -> None:
        self.waited, self.away, self.made, self.moved = Series(), Series(), Series(), Series()
        self.batches = self.copied = 0
        self.first = Series()
        self._steps = 0  # of the run that the caller is away with

    def begin(self) -> None:
        """A feed begins: its first batch is waited for while workers start."""
        self._steps = 0

    def gave(self, *, away: float, waited: float, made: float, steps: int) -> None:
        """The caller has come back after some seconds, and has got a run after some more.

        Args:
            away: seconds since it left with the run before.
            waited: seconds until it had this one.
            made: seconds that this one took a worker.
            steps: how many batches are in it.
        """
        if self._steps:
            self.away.add(away / self._steps, self._steps)
            self.waited.add(waited / steps, steps)
        else:
            self.first.add(waited)
        self.made.add(made / steps, steps)
        self.batches += steps
        self._steps = steps
