"""Durations of one kind, as a count, a total and a histogram: what a statistic keeps of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_PER_OCTAVE = 4  # buckets for a factor of two: a quantile is right to 10 %
_UNIT = 1e-8  # seconds; what is shorter counts as that


@dataclass(slots=True)
class Series:
    """Durations of one kind: how many, how long altogether, and a histogram of logarithmic buckets.

    One thread adds; others may copy it meanwhile, or ask for quantiles.

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
    _buckets: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float, times: int = 1) -> None:
        """Take note of a duration, or of so many that took the same."""
        self.count += times
        self.total += seconds * times
        if seconds > self.largest:
            self.largest = seconds
        place = int(math.log2(seconds / _UNIT) * _PER_OCTAVE) if seconds > _UNIT else 0
        self._buckets[place] = self._buckets.get(place, 0) + times

    def join(self, other: Series) -> None:
        """Take note of all that another one holds."""
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)
        for place, number in other._buckets.items():
            self._buckets[place] = self._buckets.get(place, 0) + number

    def copy(self) -> Series:
        """What it holds just now."""
        return Series(self.count, self.total, self.largest, self._buckets.copy())

    def since(self, earlier: Series) -> Series:
        """What has come since an earlier copy; of the largest only the bucket is known then.

        >>> series = Series()
        >>> series.add(5.0)
        >>> before = series.copy()
        >>> series.add(0.25)
        >>> later = series.since(before)
        >>> later.count, later.total, 0.2 < later.largest < 0.3
        (1, 0.25, True)
        """
        buckets = self._buckets.copy()
        for place, number in earlier._buckets.items():
            buckets[place] = buckets.get(place, 0) - number
        left = {place: number for place, number in buckets.items() if number > 0}
        largest = min(_middle(max(left)), self.largest) if left else 0.0
        return Series(self.count - earlier.count, max(self.total - earlier.total, 0.0), largest, left)

    def quantile(self, share: float) -> float:
        """Seconds that this share of them does not exceed, by the middle of a bucket; 0 if there are none."""
        buckets = self._buckets.copy()
        wanted, seen = share * sum(buckets.values()), 0
        for place in sorted(buckets):
            seen += buckets[place]
            if seen >= wanted:
                return min(_middle(place), self.largest)
        return 0.0


def _middle(place: int) -> float:
    return 2 ** ((place + 0.5) / _PER_OCTAVE) * _UNIT
