"""How many runs a worker has in hand: the one that it is at, and perhaps one that waits.

A second one keeps a worker busy while the caller is away and nobody hands out anything. But where runs are slow and the
caller is back at once, it would only wait behind a straggler while other workers are free.
"""

from __future__ import annotations

SLOW_SECONDS = 0.020  # from here on a round trip to main costs nothing, and a straggler much
_WEIGHT = 0.2  # of the newest time away, in their mean
_BACK_AT_ONCE = 10  # a run takes so many times as long as the caller is away


class Depth:
    """Decides how many runs a worker may have in hand.

    Args:
        now: the time; it is asked for in the same seconds, of any clock.

    >>> depth = Depth(now=0.0)
    >>> depth.took(0.5)  # a run, and the caller has always been there
    >>> depth.runs
    1
    >>> depth.came(now=1.0)
    >>> depth.runs
    2
    """

    def __init__(self, now: float) -> None:
        self._left = now
        self._away = 0.0  # how long the caller's training step takes
        self._run = 0.0

    def left(self, now: float) -> None:
        """The caller has got a run, and goes away with it."""
        self._left = now

    def came(self, now: float) -> None:
        """The caller is back for the next one."""
        self._away += _WEIGHT * ((now - self._left) - self._away)

    def took(self, seconds: float) -> None:
        """A worker has done a run in so many seconds."""
        self._run = seconds

    @property
    def runs(self) -> int:
        """How many runs a worker may have in hand now."""
        return 1 if self._run > max(SLOW_SECONDS, _BACK_AT_ONCE * self._away) else 2
