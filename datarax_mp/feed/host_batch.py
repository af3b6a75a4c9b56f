"""What a feed gives: a batch in host memory, wherever that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datarax_mp.core.spec import ALIGNMENT, Layout, align
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Shapes, Skip


@dataclass(slots=True)
class HostBatch:
    """A batch in host memory, either where it was made (``MappedBatch``) or elsewhere (``CopiedBatch``).

    Attributes:
        epoch: the epoch that it is a step of.
        step: its step there.
        rows: how many records it has.
        size: how many rows its arrays have: those, or more where it is padded.
        info: the pickled info of its records, or None.
        skips: the records that were left out of it.
        alike: how many batches, from this one on, lie one behind the other in the same memory, each whole and as the
            layout says; 1 where it is alone.
        digest: what a ledger says of it, or None where there is none.
    """

    epoch: Epoch
    step: int
    rows: int
    size: int
    info: bytes | None
    skips: tuple[Skip, ...]
    alike: int
    digest: bytes | None = field(default=None, kw_only=True)

    @property
    def parts(self) -> list[HostBatch]:
        """The batches in it, of which there is one."""
        return [self]

    @property
    def after(self) -> int:
        """The step after it."""
        return self.step + 1

    @property
    def told(self) -> tuple[tuple[tuple[Skip, ...], int, int], ...]:
        """What was skipped, with epoch and step; nothing if nothing was."""
        return ((self.skips, self.epoch.number, self.step),) if self.skips else ()

    def arrays(self) -> list[np.ndarray]:
        """One array ``(size, ...)`` per field of the layout, in its order."""
        raise NotImplementedError

    def stacked(self, count: int) -> list[np.ndarray]:
        """For each field one array ``(count, size, ...)``: this batch and the next ones, up to ``alike`` of them."""
        raise NotImplementedError


@dataclass(slots=True)
class MappedBatch(HostBatch):
    """A batch in the slot where it was made. It has the slot's lease, and so has every array that looks into it.

    Attributes:
        layout: what it holds.
        memory: where it lies, the base object of the views.
        start: at which byte there.
        shapes: the shapes of its fields' rows where they are smaller than the layout says, else None.

    >>> from datarax_mp.order import Order, Sequential
    >>> epoch = Epoch(Order(Sequential(4), batch_size=2), 0)
    >>> layout = Layout.of({"x": np.float32(0)}, number=0, batch_size=2, x64=None)
    >>> memory = np.arange(32, dtype=np.float32)
    >>> batch = MappedBatch(epoch, 0, 2, 2, None, (), 2, layout, memory, 0, None)
    >>> [array.tolist() for array in batch.arrays()], [array.tolist() for array in batch.stacked(2)]
    ([[0.0, 1.0]], [[[0.0, 1.0], [16.0, 17.0]]])
    """

    layout: Layout
    memory: Any
    start: int
    shapes: Shapes | None

    def arrays(self) -> list[np.ndarray]:
        """Views of the slot, made anew by every call."""
        return self.layout.rows(self.memory, self.start, self.size, self.shapes)

    def stacked(self, count: int) -> list[np.ndarray]:
        """Views of the slot, too."""
        return self.layout.stacked_rows(self.memory, self.start, count)


@dataclass(slots=True)
class CopiedBatch(HostBatch):
    """A batch in memory of its own, each array apart, so that one which is kept keeps no other.

    Attributes:
        copies: its arrays.
    """

    copies: list[np.ndarray]

    def arrays(self) -> list[np.ndarray]:
        """The copies."""
        return self.copies

    def stacked(self, count: int) -> list[np.ndarray]:
        """The copies, with an axis of length 1 before them."""
        return [array[None] for array in self.copies]


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy in ordinary memory that begins at a multiple of 64 bytes, so that JAX can alias it too."""
    memory = np.empty(align(array.nbytes) + ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    copy = np.ndarray(array.shape, array.dtype, memory, start)
    np.copyto(copy, array)
    return copy
