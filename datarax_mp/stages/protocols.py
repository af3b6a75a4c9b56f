"""What an object of the user's own looks like to a pipeline, beside a plain function of a record.

They are for annotations; a pipeline asks for the methods, not for the class.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class RecordMap(Protocol):
    """An object among the stages that maps a record to another one, as ``MapElement(stage.map)`` does."""

    def map(self, record: Any, /) -> Any:
        """The record that takes this one's place."""
        ...


class RandomRecordMap(Protocol):
    """An object among the stages that does so at random, as ``RandomMapElement(stage.random_map)`` does."""

    def random_map(self, record: Any, rng: np.random.Generator, /) -> Any:
        """The record that takes this one's place; ``rng`` is this record's alone."""
        ...


class EpochAware(Protocol):
    """A source, a stage, or something in one, that is told of epochs."""

    def set_epoch(self, epoch: int, /) -> None:
        """Called where records are read, before the first one of an epoch."""
        ...
