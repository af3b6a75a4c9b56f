"""What each process makes for itself: locks, open files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class PerProcess(Generic[Value]):
    """A value that is made anew wherever a pickle of it arrives, so that who holds it pickles as it is.

    A process that is forked has the parent's value.

    Args:
        make: makes the value; it has to pickle.

    Attributes:
        value: this process's.

    >>> import pickle
    >>> lines = PerProcess(list)
    >>> lines.value.append("read here")
    >>> pickle.loads(pickle.dumps(lines)).value
    []
    """

    __slots__ = ("_make", "value")

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make, self.value = make, make()

    def __reduce__(self) -> Any:
        return PerProcess, (self._make,)
