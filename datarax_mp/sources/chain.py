"""Stretches of numbers that lie one behind the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.int64]


class Chain:
    """Counts several stretches through.

    Args:
        lengths: int ``(n,)``, how long each is.

    Attributes:
        begins: int64, the first number of each.

    >>> chain = Chain([2, 0, 3])
    >>> len(chain), [part.tolist() for part in chain.find(np.array([1, 2, 4]))]
    (5, [[0, 2, 2], [1, 0, 2]])
    """

    def __init__(self, lengths: ArrayLike) -> None:
        counts = np.asarray(lengths, np.int64)
        self._ends = np.cumsum(counts)
        self.begins: Numbers = self._ends - counts

    def __len__(self) -> int:
        """How many numbers there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def find(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """In which stretch numbers lie, and where in it, each int64 ``(n,)``."""
        which = np.searchsorted(self._ends, numbers, "right")
        return which, numbers - self.begins[which]

    def find_one(self, number: int) -> tuple[int, int]:
        """The same for one number, as plain ints."""
        which = int(np.searchsorted(self._ends, number, "right"))
        return which, number - int(self.begins[which])
