"""How many consecutive steps a worker does at a time.

Small batches are to share the cost of a message, and slow ones are not to wait for each other. Nobody knows beforehand
which they are, so a run has one step at first, twice as many as soon as those turn out to be quick, and half as many
when they turn out to be slow.
"""

from __future__ import annotations

GOOD_SECONDS = 0.004  # a message costs some 0.1 ms; at this length that is little, and the first batch is not late


class RunLength:
    """Decides how many steps the next run has.

    Attributes:
        steps: that many.
        first: how many the very first ones have.

    Args:
        most: the most that it may have.
        adaptive: whether that is only reached as far as steps turn out to be quick; otherwise every run has ``most``.
        unit: the least that it may have, of which it always has a multiple.

    >>> length = RunLength(64, adaptive=True)
    >>> length.observe(1, seconds=0.0001)
    >>> length.steps
    2
    """

    def __init__(self, most: int, *, adaptive: bool, unit: int = 1) -> None:
        self._most, self._adaptive, self._unit = most // unit * unit, adaptive, unit
        self.steps = self.first = unit if adaptive else self._most

    def observe(self, steps: int, seconds: float) -> None:
        """Take note of how long a run of so many steps took."""
        if not self._adaptive:
            return
        # A run that was handed out before the length last grew says nothing about the new length.
        if seconds < GOOD_SECONDS / 2 and steps == self.steps:
            self.steps = min(2 * steps, self._most)
        elif seconds > GOOD_SECONDS * 2:
            self.steps = max(1, steps // self._unit // 2) * self._unit
