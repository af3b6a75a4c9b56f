"""Small batches on their way to the device several at a time.

What a small batch costs there is the call, not the bytes. The batches of a run lie one behind the other in a slot, so
for each field one strided array looks at several of them. Where a field is copied, one jitted function takes that array
apart on the device; where it is aliased, one ``device_put`` takes all its parts. Microseconds for each batch, with what
it costs to wait for it, in one call for (2 cores, CPU backend, jax 0.10.2):

    batches in the call                                    1     2     3     4     5     8    16
    copied, 1 field of 0.5 kB                             15    10     7     7     6     5     6
    copied, 2 fields of 0.5 kB                            21    15    12    10    15    12     9
    copied, 4 fields of 0.5 kB                            30    22    28    23    22    17    13
    aliased, 1 field of 0.8 MB                            80    62          46    44    38

The steps in the rows are where XLA has ten copies or more to make: it hands those to its threads, which costs the cores
half as much again as it saves the caller, so a call stays below that if it can.

The function has to be compiled for every layout, which takes as long as some thousand batches of the ordinary way; so
only whoever has taken that many gets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from datarax_mp.core.spec import Layout

MOST_BYTES = 64 * 1024  # of a batch's fields that are copied; beyond that it is the bytes that count
_MOST = 8  # batches in one call; twice as many take twice as long to compile, and gain little
_MOST_COPIES = 9  # in one call, that XLA makes without its threads
_PATIENCE = 4096  # batches, after which the compilation costs no more than what waiting for it has cost


class Together:
    """Decides when to move batches together, and does it.

    Args:
        layout: what a batch holds.
        placement: where arrays go, a ``jax.sharding.Sharding`` or None.
        aliased: the places of the fields that ``device_put`` is to take; all others are copied.
        steps: how many batches a run has at most.

    Attributes:
        size: how many batches are moved in one call; at 1 there is nothing to gain.
    """

    def __init__(self, layout: Layout, placement: Any, aliased: Sequence[int], steps: int) -> None:
        self._tree, self._placement, self._aliased = layout.tree_maker(), placement, aliased
        self._copied = [place for place in range(len(layout.fields)) if place not in aliased]
        without_threads = _MOST_COPIES // len(self._copied) if self._copied else _MOST
        self.size = min(without_threads if without_threads > 1 else _MOST, _MOST, steps)
        self._seen = 0

    def worthwhile(self, batches: int) -> bool:
        """Count batches that are about to be moved, and say whether to move them together."""
        self._seen += batches
        return self._seen > _PATIENCE and batches >= self.size

    def move(self, stacked: list[np.ndarray]) -> deque[dict[str, Any]]:
        """Move ``size`` batches.

        Args:
            stacked: for each field an array ``(size, rows, ...)``.

        Returns:
            The batches' arrays on the device, by name.
        """
        columns: list[Any] = [None] * len(stacked)  # of each field the arrays, one per batch
        if self._copied:
            copies = _take_apart(self._placement, self.size)(*[stacked[place] for place in self._copied])
            for place, column in zip(self._copied, copies, strict=True):
                columns[place] = column
        if self._aliased:
            import jax  # delayed: a script with NumPy output never needs it

            parts = [list(stacked[place]) for place in self._aliased]
            for place, column in zip(self._aliased, jax.device_put(parts, self._placement), strict=True):
                columns[place] = column
        return deque(map(self._tree, zip(*columns, strict=True)))


class Group:
    """Some batches of a run, that are moved when the first of them is asked for.

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
def _take_apart(placement: Any, size: int) -> Callable[..., Any]:
    import jax  # delayed, as above

    return jax.jit(
        lambda *stacked: [[array[place] for place in range(size)] for array in stacked], out_shardings=placement
    )
