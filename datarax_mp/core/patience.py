"""Time limits that stand still while the process does."""

from __future__ import annotations

import time

_SLICE = 0.5  # seconds between two looks at the clock
_LONGEST = 2 * _SLICE  # what may count between two looks: more than that, and we were stopped meanwhile


class Patience:
    """A number of seconds to wait, of which those do not count in which nobody could have done anything.

    A container that is paused, a laptop that sleeps, a whole job that is stopped: at the thaw the clock says that an
    hour has passed, and whoever waits with a deadline ends others that have had no time at all. So the clock is asked
    every half a second, and what lies between two looks counts as a second at the most.

    Args:
        seconds: how long to wait.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._asked = time.monotonic()

    def left(self) -> float:
        """Seconds that are left, not below 0."""
        now = time.monotonic()
        self._left = max(0.0, self._left - min(now - self._asked, _LONGEST))
        self._asked = now
        return self._left

    def slice(self) -> float:
        """How long to wait before asking again."""
        return min(self.left(), _SLICE)

    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left() <= 0
