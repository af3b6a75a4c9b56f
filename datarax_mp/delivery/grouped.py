"""Small batches on their way to the device several at a time.

What a small batch costs there is the call, not the bytes. The batches of a run lie one behind the other in a slot, so
for each field one strided array looks at several of them, and one jitted function takes them apart on the device.
Microseconds for each batch, with what it costs to wait for it, in one call for (2 cores, CPU backend, jax 0.10.2):

    batches in the call                            1     2     3     4     5     8    16
    1 field of 0.5 kB                             15    10     7     7     6     5     6
    2 fields of 0.5 kB                            21    15    12    10    15    12     9
    4 fields of 0.5 kB                            30    22    28    23    22    17    13

Of all arrays singly, by ``put.py``, it is some 7 for each field.

The steps in the rows are where XLA has ten copies or more to make: it hands those to its threads, which costs the cores
half as much again as it saves the caller, so a call stays below that if it can.

The function has to be compiled for every layout, which takes 0.1 s; a batch of two fields takes main 4 µs less then. So
only whoever has taken some thousand batches gets it. Earlier would be a loss for most, also in a thread of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from datarax_mp.core.spec import Layout
from datarax_mp.feed.host_batch import HostBatch

_MOST = 8  # batches in one call; twice as many take twice as long to compile, and gain little
_MOST_COPIES = 9  # in one call, that XLA makes without its threads
PATIENCE = 4096  # batches: whoever has taken so many is likely to take the 20,000 that make up for the compilation


class Grouping:
    """Decides when to move batches together, and does it.

    Args:
        layout: what a batch holds.
        device: where arrays go, a ``jax.Device`` or None.
        steps: how many batches a run has at most.

    Attributes:
        size: how many batches are moved in one call; at 1 there is nothing to gain.
    """

    def __init__(self, layout: Layout, device: Any, steps: int) -> None:
        self._tree, self._device = layout.tree_maker(), device
        without_threads = _MOST_COPIES // len(layout.fields)
        self.size = min(without_threads if without_threads > 1 else _MOST, _MOST, steps)
        self._seen = 0

    def worthwhile(self, batches: int) -> bool:
        """Count a batch that is about to be moved, and say whether to move it with those behind it.

        Args:
            batches: how many there are, this one included.
        """
        self._seen += 1
        return self._seen > PATIENCE and batches >= self.size

    def move(self, stacked: list[np.ndarray]) -> deque[dict[str, Any]]:
        """Move ``size`` batches.

        Args:
            stacked: for each field an array ``(size, rows, ...)``.

        Returns:
            The batches' arrays on the device, by name.
        """
        import jax  # delayed: a script with NumPy output never needs it

        take_apart = _take_apart(self._device, self.size)
        try:
            columns = take_apart(*stacked)
        except jax.errors.JaxRuntimeError:  # a guard against implicit transfers has taken it for one
            with jax.transfer_guard_host_to_device("allow"):
                columns = take_apart(*stacked)
        return deque(map(self._tree, zip(*columns, strict=True)))


class Groups:
    """The way to the device for the batches of one epoch, which come in order.

    Args:
        grouping: decides which are moved together.
        transfer: moves those that are not.
    """

    def __init__(self, grouping: Grouping, transfer: Callable[[list[np.ndarray]], dict[str, Any]]) -> None:
        self._grouping, self._transfer = grouping, transfer
        self._moved: deque[dict[str, Any]] = deque()  # of the batches that come next

    def __call__(self, batch: HostBatch) -> dict[str, Any]:
        """A batch's arrays on the device, by name."""
        if not self._moved:
            if not self._grouping.worthwhile(batch.alike):
                return self._transfer(batch.arrays())
            self._moved = self._grouping.move(batch.stacked(self._grouping.size))
        return self._moved.popleft()


@lru_cache(maxsize=16)
def _take_apart(device: Any, size: int) -> Callable[..., Any]:
    """One per place, not one per pipeline: compiling it takes longer than starting a worker."""
    import jax  # delayed, as above

    return jax.jit(
        lambda *stacked: [[array[place] for place in range(size)] for array in stacked],
        out_shardings=None if device is None else jax.sharding.SingleDeviceSharding(device),
    )
