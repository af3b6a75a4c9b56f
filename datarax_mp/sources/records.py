"""Records that are made when they are asked for: no more than one of them has to be there at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any


class Records(ABC):
    """Records that are made when they are asked for.

    As a block it has to pickle, and is best few large arrays: those travel beside the pickle, and are read-only where
    it arrives. What it gives does not change it: copies, or what cannot be written to. A source's ``__getitems__`` may
    return it, too.
    """

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """How many bytes it takes."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def __getitem__(self, place: int) -> Any:
        """One of them."""

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))


class InTurn(Records):
    """Records that are made one by one, each anew when it is asked for; for one batch, as it does not pickle.

    Args:
        make: makes the record at a place.
        count: how many there are.

    Attributes:
        make: see above; for who asks for many, a call less.

    >>> found = InTurn(lambda place: 10 * place, 3)
    >>> found[2], list(found)
    (20, [0, 10, 20])
    """

    def __init__(self, make: Callable[[int], Any], count: int) -> None:
        self.make, self._count = make, count

    @property
    def nbytes(self) -> int:
        """See ``Records``; none of them is there."""
        return 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> Any:
        return self.make(place)
