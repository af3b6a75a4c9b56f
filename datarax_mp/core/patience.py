"""Time limits that stand still while the process does."""

from __future__ import annotations

import time
from collections.abc import Callable

_LOOKS = 10  # at the clock, while the time passes
_NOTHING = 1e-6  # seconds, less than any wait
_SHORTEST, _LONGEST = 0.01, 0.5  # seconds between two of them


class Patience:
    """A number of seconds to wait, of which those do not count in which nobody could have done anything.

    A container that is paused, a laptop that sleeps, a whole job that is stopped: at the thaw the clock says that an
    hour has passed, and whoever waits with a deadline ends others that have had no time at all. So the clock is asked
    ten times and more, and what lies between two looks counts as twice what should lie there at the most.

    Args:
        seconds: how long to wait.
        clock: what is asked.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self._clock = seconds, clock
        self._slice = min(max(seconds / _LOOKS, _SHORTEST), _LONGEST)
        self._asked = clock()

    def left(self) -> float:
        """Seconds that are left, not below 0."""
        now = self._clock()
        left = self._left - min(now - self._asked, 2 * self._slice)
        self._left = left if left > _NOTHING else 0.0
        self._asked = now
        return self._left

    def slice(self) -> float:
        """How long to wait before asking again."""
        return min(self.left(), self._slice)

    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left() <= 0
