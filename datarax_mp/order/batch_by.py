"""What ``Pipeline(batch_by=)`` takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from datarax_mp.order.choice import Choice


@dataclass(frozen=True, slots=True)
class Batches:
    """What a pipeline's arguments say of its batches.

    Attributes:
        rows: the most rows of one, for one shard.
        shards: for how many shards a step is.
        drop_last: whether one that is not full is left out.
    """

    rows: int
    shards: int
    drop_last: bool


class BatchBy(ABC):
    """Says which records come together."""

    @abstractmethod
    def over(self, choice: Choice, records: int, batches: Batches) -> Choice:
        """The choice of records that follow one another into batches.

        Args:
            choice: which records there are.
            records: of how many.
            batches: what batches are like.

        Raises:
            ValueError: it is about another number of records, or cannot be combined with that choice.
        """
