"""Steps that are left out of a stream: those over which a loss has jumped, say."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_MOST = 40  # ranges; with them a state stays below 2 kB


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Ranges of steps, by epoch; a value that a state holds.

    Attributes:
        ranges: ``(epoch, first, stop)``, in order, without touching each other; the stop is not left out any more.

    >>> none = LeftOut()
    >>> some = none.with_steps(2, [3, 5, 4, 9])
    >>> some.ranges
    ((2, 3, 6), (2, 9, 10))
    >>> list(some.kept(2, 0, 12)), list(some.kept(1, 0, 12))
    ([(0, 3), (6, 9), (10, 12)], [(0, 12)])
    """

    ranges: tuple[tuple[int, int, int], ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def with_steps(self, epoch: int, steps: Iterable[int]) -> LeftOut:
        """The same with further steps of an epoch.

        Raises:
            ValueError: they make too many ranges for a state.
        """
        if isinstance(steps, range) and abs(steps.step) == 1 and len(steps):
            more = [(epoch, min(steps), max(steps) + 1)]
        else:
            more = [(epoch, step, step + 1) for step in sorted(set(steps))]
        ranges: list[tuple[int, int, int]] = []
        for number, first, stop in sorted([*self.ranges, *more]):
            if ranges and ranges[-1][0] == number and first <= ranges[-1][2]:
                ranges[-1] = (number, ranges[-1][1], max(stop, ranges[-1][2]))
            else:
                ranges.append((number, first, stop))
        if len(ranges) > _MOST:
            raise ValueError(
                f"{len(ranges)} ranges of steps would be left out, and a state has room for {_MOST}. Leave out longer "
                "ranges, or use Filter or a sampler for single records"
            )
        return LeftOut(tuple(ranges))

    def since(self, epoch: int) -> LeftOut:
        """Those of this epoch and of later ones."""
        return LeftOut(tuple(one for one in self.ranges if one[0] >= epoch))

    def kept(self, epoch: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """What is left of the steps ``[start, stop)`` of an epoch, as such ranges; none is empty."""
        for number, first, end in self.ranges:
            if number == epoch and end > start:
                if start < min(first, stop):
                    yield start, min(first, stop)
                start = max(start, end)
        if start < stop:
            yield start, stop

    def as_json(self) -> list[list[int]]:
        """As plain JSON values."""
        return [list(one) for one in self.ranges]

    @classmethod
    def of_json(cls, value: Any) -> LeftOut:
        """What ``as_json`` gave, from a state that may have come from elsewhere.

        Raises:
            ValueError: it is something else.
        """
        made = cls()
        try:
            for epoch, first, stop in (map(_number, one) for one in value):
                if not first < stop:
                    raise ValueError
                made = made.with_steps(epoch, range(first, stop))
        except (TypeError, ValueError):
            raise ValueError(f"a state's left_out must be a list of [epoch, first, stop], found {value!r}") from None
        return made


def _number(value: Any) -> int:
    """A number of a state as an int; checkpoint libraries make NumPy's of them, and arrays without an axis."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError
    if not 0 <= (number := operator.index(value)) < 1 << 62:
        raise ValueError
    return number


NOTHING = LeftOut()
