"""What stands at each position of an epoch: the contract of everything that chooses records.

    (seed, epoch, position)  --Choice-->  record

A choice is a value. It is made once, in main, and reaches the workers as part of the recipe: its tables, where it has
any, lie in memory that all of them share. Each kind has a file of its own here; what it promises stands there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Choice(Protocol):
    """Which records an epoch has, and in which order."""

    @property
    def length(self) -> int:
        """The positions of an epoch, the same for every epoch."""
        ...

    @property
    def shuffled(self) -> bool:
        """Whether it depends on the seed."""
        ...

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """The records at positions of an epoch, both int64 ``(n,)``: always the same, in whatever process."""
        ...

    def examples(self, positions: Numbers) -> Numbers:
        """Records from which it is learnt what records are like, the same for every seed."""
        ...

    def narrowed(self, numbers: Numbers) -> Choice:
        """The same choice among some of the records alone.

        Args:
            numbers: int64, which they are, ascending.

        Returns:
            A choice that says a record's place in ``numbers`` instead of its number.

        Raises:
            ValueError: it cannot be made among these.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """What must be alike for a position to mean the same record: small, of plain JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class Among:
    """A choice among those records that filters have kept.

    Attributes:
        choice: chooses places in ``numbers``.
        numbers: int64, the records' numbers, ascending.

    >>> from datarax_mp.order.sequential import Sequential
    >>> kept = Among(Sequential(2), np.array([3, 7]))
    >>> kept.at(0, 0, np.array([1, 0])).tolist()
    [7, 3]
    """

    choice: Choice
    numbers: Numbers = field(compare=False, repr=False)

    @classmethod
    def those(cls, choice: Choice, numbers: Numbers) -> Among:
        """The same choice among these records alone."""
        return cls(choice.narrowed(numbers), numbers)

    @property
    def length(self) -> int:
        """See ``Choice``."""
        return self.choice.length

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return self.choice.shuffled

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self.numbers[self.choice.at(seed, epoch, positions)]

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self.numbers[self.choice.examples(positions)]

    def narrowed(self, numbers: Numbers) -> Choice:
        """See ``Choice``."""
        return self.choice.narrowed(np.searchsorted(self.numbers, numbers))

    def facts(self) -> dict[str, Any]:
        """See ``Choice``: records are told apart by the source and the stages, filters among them."""
        return self.choice.facts()
