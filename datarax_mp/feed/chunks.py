"""Which consecutive steps come together, when several are to lie in one array."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunks:
    """Where chunks of steps end; arithmetic, so that whoever hands out work and whoever delivers it agree.

    Attributes:
        most: the most steps that a chunk has.
        start: the step where the first one begins; it may lie before the epoch. In later epochs it is the first.
        epoch: the epoch of that step.
        every: chunks also end where so many steps are over since ``start``, and whenever so many more are; None is
            nowhere.
        filled: whether arrays have room for ``most`` steps, however many are in them, so that what is compiled for one
            chunk serves all; and ``most`` is only a wish.

    >>> chunks = Chunks(most=4, start=1, every=10)
    >>> [chunks.size(step, 0) for step in (1, 2, 5, 9, 11)]
    [4, 3, 4, 2, 4]
    """

    most: int
    start: int = 0
    epoch: int = 0
    every: int | None = None
    filled: bool = False

    def size(self, step: int, epoch: int) -> int:
        """How many steps there are from this one to the end of its chunk."""
        done = step - (self.start if epoch == self.epoch else 0)
        if self.every is None:
            return self.most - done % self.most
        done %= self.every
        return min(self.most - done % self.most, self.every - done)

    def reach(self, step: int, epoch: int, room: int) -> int:
        """How many steps a run has that begins here: whole chunks, as many as there is room for.

        Args:
            step: the run's first step.
            epoch: the epoch.
            room: the most steps that it may have; where not even one chunk fits in, it has so many.

        >>> Chunks(most=4).reach(0, 0, room=10), Chunks(most=4).reach(0, 0, room=3)
        (8, 3)
        """
        reach = self.size(step, epoch)
        if reach > room:
            return room
        while reach + (following := self.size(step + reach, epoch)) <= room:
            reach += following
        return reach

    def within(self, steps: int) -> Chunks:
        """The same with at most so many steps in a chunk, if that is for us to choose."""
        return dataclasses.replace(self, most=min(self.most, max(1, steps))) if self.filled else self
