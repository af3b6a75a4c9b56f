"""A feed's batches, several at a time.

    Feed  --batch, batch, batch-->  ChunkedFeed  --HostChunk-->  delivery

A chunk ends where ``Chunks`` says, before a batch of another shape (a shorter last one, one that lacks skipped
records), and before what was raised. Where it lies together in one slot, its arrays are views of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datarax_mp.feed.chunks import Chunks
from datarax_mp.feed.feed import Feed
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.feed.lending import Failure
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Skip


@dataclass(slots=True)
class HostChunk:
    """Consecutive batches of one shape in host memory.

    Attributes:
        parts: the batches, at least one.
        room: how many there is room for in the arrays.
    """

    parts: list[HostBatch]
    room: int

    @property
    def size(self) -> int:
        """How many rows the arrays of each batch have."""
        return self.parts[0].size

    @property
    def epoch(self) -> Epoch:
        """The epoch that they are steps of."""
        return self.parts[0].epoch

    @property
    def after(self) -> int:
        """The step after the last one."""
        return self.parts[-1].after

    @property
    def told(self) -> tuple[tuple[tuple[Skip, ...], int, int], ...]:
        """What was skipped: of each step the skips, and its epoch and number."""
        return tuple(told for part in self.parts for told in part.told)

    def arrays(self) -> list[np.ndarray]:
        """For each field one array ``(room, size, ...)``; what is behind the last batch has no meaning."""
        first, count = self.parts[0], len(self.parts)
        if count == 1:
            stacked = [array[None] for array in first.arrays()]
        elif count <= first.alike:
            stacked = first.stacked(count)
        else:
            stacked = [np.stack(arrays) for arrays in zip(*(part.arrays() for part in self.parts), strict=True)]
        if count == self.room:
            return stacked
        return [_with_room(array, self.room) for array in stacked]


def _with_room(array: np.ndarray, room: int) -> np.ndarray:
    roomy = np.zeros((room, *array.shape[1:]), array.dtype)
    roomy[: len(array)] = array
    return roomy


class ChunkedFeed:
    """Gives the batches of a feed chunk by chunk, as the feed gives them one by one.

    Args:
        feed: gives the batches.
        chunks: where chunks end.
    """

    def __init__(self, feed: Feed, chunks: Chunks) -> None:
        self._feed, self._chunks = feed, chunks
        self._parts: list[HostBatch] = []
        self._wanted = 0  # how many of them make the chunk whole
        self._held: list[HostBatch | Failure | None] = []  # what comes after them and does not belong to them

    def ready(self) -> bool:
        """Whether ``next_batch`` has a chunk without waiting for another process."""
        while not self._whole() and self._feed.ready():
            self._pull()
        return self._whole()

    def next_batch(self) -> HostChunk | Failure | None:
        """The next chunk, waiting for it if need be; None at the end.

        Raises:
            WorkerError: workers keep dying, or a batch took longer than the time limit.
            Closed: another thread has closed the pipeline.
        """
        while not self._whole():
            self._pull()
        if self._parts:
            parts, self._parts = self._parts, []
            return HostChunk(parts, self._room(parts))
        held = self._held.pop()
        assert not isinstance(held, HostBatch)  # one would have begun a chunk
        return held

    def close(self) -> None:
        """Forget what is not delivered."""
        self._parts, self._held = [], []
        self._feed.close()

    def _whole(self) -> bool:
        if not self._parts and self._held and isinstance(self._held[0], HostBatch):
            self._add(self._held.pop())
        return bool(self._held) or (bool(self._parts) and len(self._parts) >= self._wanted)

    def _pull(self) -> None:
        self._add(self._feed.next_batch())

    def _add(self, batch: HostBatch | Failure | None) -> None:
        if not isinstance(batch, HostBatch) or (self._parts and not self._fits(batch)):
            self._held.append(batch)
            return
        if not self._parts:
            # One without rows is nothing that could be stacked.
            self._wanted = self._chunks.size(batch.step, batch.epoch.number) if batch.size else 1
        self._parts.append(batch)

    def _fits(self, batch: HostBatch) -> bool:
        first = self._parts[0]
        if first.epoch.number != batch.epoch.number:
            return False
        if len(self._parts) < first.alike:
            return True
        shapes = [[array.shape for array in part.arrays()] for part in (first, batch)]
        return first.size == batch.size and shapes[0] == shapes[1]

    def _room(self, parts: list[HostBatch]) -> int:
        whole = self._chunks.filled and parts[0].size == parts[0].epoch.batch_size
        return self._chunks.most if whole else len(parts)
