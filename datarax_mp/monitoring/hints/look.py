"""What hints go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datarax_mp.monitoring.stats import Stats
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.ring.limits import Room

MEASURED = 5.0  # seconds of a stream, before which figures say little


@dataclass(frozen=True, slots=True)
class Look:
    """A pipeline, as it is at a moment after its first batch.

    Attributes:
        stats: its figures.
        source: what records are read from.
        by_record: whether there are stages for single records.
        batch_size: records in a batch.
        layouts: what a batch holds, or None if that is not known.
        room: the memory that is left, or None where nobody tells.
    """

    stats: Stats
    source: Any
    by_record: bool
    batch_size: int
    layouts: Layouts | None
    room: Room | None

    @property
    def measured(self) -> bool:
        """Whether batches have been taken for long enough."""
        return self.stats.seconds >= MEASURED
