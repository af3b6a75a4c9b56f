"""From arrays in host memory to what the user gets: what every way there has in common.

    Delivery   made with the pipeline; what it learns of a layout (functions to move arrays, whether to move several
       |       batches at a time) it keeps over epochs
       open(layout, epoch, steps), open_stacked
       v
    Bound      of one epoch: take(batch) ahead of the user, hand_over(item) at the moment when the user gets it

One file per output: ``batches``, ``stacked``, ``elements``; ``choose`` says which. NumPy arrays stay where they
are (``transfer``), and ``tensors`` look at the same memory; arrays over several processes are ``global_arrays``;
``put`` is where jaxlib's own functions are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from datarax_mp.core.spec import Layout
from datarax_mp.feed.chunked import HostChunk
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order import Order
from datarax_mp.order.epoch import Epoch

HandOver: TypeAlias = Callable[[Any], Any]
Given = TypeVar("Given", contravariant=True)


class Bound(Protocol[Given]):
    """The way of one epoch's batches, which come in order. Used by one thread."""

    @property
    def hand_over(self) -> HandOver | None:
        """What is still to be done with what ``take`` gave, when the user gets it; None if nothing is."""
        ...

    def take(self, batch: Given) -> Any:
        """Move a batch, or several at once, to its place, maybe before the user asks for it.

        Raises:
            Exception: what a device stage raised, which is claimed (see ``core.strays``), or JAX, which is not.
        """
        ...


class Delivery(Protocol):
    """One way to deliver batches."""

    def check(self, layout: Layout, order: Order) -> None:
        """Make sure that such batches can be delivered, before there is one.

        Raises:
            ValueError: a field cannot be split as the sharding says.
            TypeError: torch, which is to have them, has no such dtype.
        """
        ...

    def device(self) -> Any:
        """A device that the arrays go to, of this process; None where they stay in host memory."""
        return None

    def open(self, layout: Layout, epoch: Epoch, steps: int) -> Bound[HostBatch]:
        """Begin to deliver an epoch.

        Args:
            layout: what its batches hold.
            epoch: the epoch.
            steps: how many batches may lie one behind the other in memory.
        """
        ...

    def open_stacked(self, layout: Layout, epoch: Epoch, *, bare: bool) -> Bound[HostChunk]:
        """Begin to deliver an epoch several batches at a time.

        Args:
            layout: what its batches hold.
            epoch: the epoch.
            bare: whether plain Chunks are wanted instead of Batches.

        Raises:
            TypeError: this delivers no batches.
        """
        raise TypeError("there are no batches that could be stacked")
