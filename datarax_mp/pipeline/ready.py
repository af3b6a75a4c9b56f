"""What stands ready for the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datarax_mp.delivery.base import HandOver
from datarax_mp.ledger.entries import Entry
from datarax_mp.pipeline.skips import Told
from datarax_mp.pipeline.state import Position


@dataclass(slots=True)
class Ready:
    """A step, or several in one, that stands ready.

    Attributes:
        after: the position after it.
        item: what the user gets.
        empty: whether all of the step's records were skipped, so that the user gets nothing.
        told: the records that were skipped in it.
        hand_over: what is still to be done with the item when the user gets it, or None.
        entries: what the ledger says when the user gets it.
    """

    after: Position
    item: Any
    empty: bool
    told: Told
    hand_over: HandOver | None
    entries: tuple[Entry, ...]
