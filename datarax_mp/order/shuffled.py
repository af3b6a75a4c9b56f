"""Every record once, in another order in every epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.permutation import permute
from datarax_mp.order.sequential import Sequential


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A permutation of all records for each (seed, epoch).

    Attributes:
        length: how many records there are.
    """

    length: int

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return True

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return permute(positions, self.length, seed=seed, epoch=epoch)

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return positions

    def narrowed(self, numbers: Numbers) -> Shuffled:
        """See ``Choice``."""
        return Shuffled(len(numbers))

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        return {"length": self.length, "shuffle": True}


def in_order_or_shuffled(length: int, *, shuffle: bool) -> Choice:
    """Every record once, shuffled or not."""
    return Shuffled(length) if shuffle else Sequential(length)
