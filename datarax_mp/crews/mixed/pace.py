"""Whether a run is to go to workers that are far away, when those nearby have enough.

Batches are delivered in order. So a run that is far away for long holds up what is made nearby meanwhile, as soon as
that has filled the slots; and where workers nearby are quick, all waits for those far away. Such a run is worth it if
it comes back before the slots are full: if it takes no longer than the near ones take to make as many runs as fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_WEIGHT = 0.2  # of the newest run, in the mean
_RETRY = 50  # times as long as a run is away, until one is tried again: one that is not worth it costs 2 % then


class Pace:
    """Decides that.

    Args:
        clock: seconds.

    >>> pace = Pace()
    >>> pace.near(0.1)
    >>> pace.far(0.3)
    >>> pace.is_worth(ahead=4), pace.is_worth(ahead=2)
    (True, False)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._near = self._far = 0.0  # seconds, means; 0 as long as there is none
        self._due = 0.0

    def near(self, seconds: float) -> None:
        """A worker nearby has made a run in so many seconds."""
        self._near += (_WEIGHT if self._near else 1.0) * (seconds - self._near)

    def sent(self) -> None:
        """A run is sent far away: where that is only a try, it is one run alone."""
        self._due = self._clock() + _RETRY * self._far

    def far(self, seconds: float) -> None:
        """A run has come back from far away, after so many seconds."""
        self._far += (_WEIGHT if self._far else 1.0) * (seconds - self._far)
        self._due = self._clock() + _RETRY * self._far

    def is_worth(self, ahead: float) -> bool:
        """Whether one should be sent there.

        Args:
            ahead: how many runs each worker nearby can make until all slots are taken.
        """
        if not self._far or not self._near or self._far <= ahead * self._near:
            return True
        return self._clock() >= self._due
