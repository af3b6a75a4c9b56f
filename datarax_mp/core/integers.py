"""Numbers that users give, checked."""

from __future__ import annotations

import operator
from typing import Any


def integer(name: str, value: Any, *, least: int) -> int:
    """A value as an int of at least ``least``; NumPy's integers are ints, a bool is none.

    Raises:
        TypeError: it is no int.
        ValueError: it is too small.

    >>> integer("batch_size", 8, least=1)
    8
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
