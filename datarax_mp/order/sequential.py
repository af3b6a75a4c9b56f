"""Every record once, in the source's own order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datarax_mp.order.choice import Numbers


@dataclass(frozen=True, slots=True)
class Sequential:
    """Record n at position n, in every epoch.

    Attributes:
        length: how many records there are.
    """

    length: int

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return False

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return positions

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return positions

    def narrowed(self, numbers: Numbers) -> Sequential:
        """See ``Choice``."""
        return Sequential(len(numbers))

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        return {"length": self.length, "shuffle": False}
