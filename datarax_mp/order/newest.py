"""Results that are kept for as long as they are asked for again: an epoch's table, say."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Newest(Generic[Value]):
    """The newest few results of a pure function, in this process alone.

    Threads may share one: what is kept is replaced as a whole, so that at worst two of them work out the same.

    Args:
        most: how many are kept.

    >>> squares = Newest[int](2)
    >>> squares.get(3, lambda: 9), squares.get(3, lambda: 0)
    (9, 9)
    """

    __slots__ = ("_kept", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: tuple[tuple[Hashable, Value], ...] = ()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result that belongs to a key, made if it is not kept."""
        for known, value in self._kept:
            if known == key:
                return value
        value = make()
        self._kept = ((key, value), *self._kept[: self._most - 1])
        return value

    def __reduce__(self) -> Any:
        return Newest, (self._most,)  # another process makes its own
