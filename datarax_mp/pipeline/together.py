"""Small batches on their way to the device several at a time.

What a small batch costs there is the call, not the bytes: two arrays of a table's rows, 9 kB in all, take 17 us through
a jitted identity, whereas eight such batches in one call take 8 us each (2 cores, CPU backend, jax 0.10.2). The batches
of a run lie one behind the other in a slot, so for each field one strided array looks at all eight, and one jitted
function takes it apart on the device.

It has to be compiled for every layout, which takes as long as some thousand batches of the ordinary way; so only
whoever has taken that many gets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from datarax_mp.core.spec import Layout

SIZE = 8  # batches in one call; 16 would take 6.6 us each, and twice as long to compile
MOST_BYTES = 64 * 1024  # of a batch; beyond that it is the bytes that count
_PATIENCE = 4096  # batches, after which the compilation costs no more than what waiting for it has cost


class Together:
    """Decides when to move batches together, and does it.

    Args:
        layout: what a batch holds.
        placement: where arrays go, a ``jax.sharding.Sharding`` or None.
    """

    def __init__(self, layout: Layout, placement: Any) -> None:
        self._tree = layout.tree_maker()
        self._placement = placement
        self._seen = 0

    def worthwhile(self, batches: int) -> bool:
        """Count batches that are about to be moved, and say whether to move them together."""
        self._seen += batches
        return self._seen > _PATIENCE and batches >= SIZE

    def move(self, stacked: list[np.ndarray]) -> deque[dict[str, Any]]:
        """Move ``SIZE`` batches.

        Args:
            stacked: for each field an array ``(SIZE, rows, ...)``.

        Returns:
            The batches' arrays on the device, by name.
        """
        return deque(map(self._tree, _take_apart(self._placement)(*stacked)))


class Group:
    """``SIZE`` batches of a run, that are moved when the first of them is asked for.

    Args:
        together: what moves them.
        stacked: as ``Together.move`` takes them.
    """

    __slots__ = ("_moved", "_stacked", "_together")

    def __init__(self, together: Together, stacked: list[np.ndarray]) -> None:
        self._together, self._stacked = together, stacked
        self._moved: deque[dict[str, Any]] | None = None

    def next(self) -> dict[str, Any]:
        """The arrays of the next batch, on the device."""
        if self._moved is None:
            self._moved = self._together.move(self._stacked)
            self._stacked = []  # and with it the slot
        return self._moved.popleft()


@lru_cache(maxsize=16)
def _take_apart(placement: Any) -> Callable[..., Any]:
    import jax  # delayed: a script with NumPy output never needs it

    return jax.jit(
        lambda *stacked: [[array[place] for array in stacked] for place in range(SIZE)], out_shardings=placement
    )
