"""What is no array (text, bytes, objects) as bytes that are the same in every process and every run.

A pickle is not: it depends on which parts are one object and which are equal ones, and for sets on the run.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from datarax_mp.core.foreign import Unreadable, as_plain

_PLAIN = (type(None), bool, int, float, complex)
_NAMED = (Enum, type, FunctionType, BuiltinFunctionType)


def as_bytes(value: Any) -> bytes:
    """The bytes that stand for a value. Equal values of one type have the same.

    Containers count by their items, enumerations, classes and functions by their name, arrays and images of other
    libraries by what NumPy reads in them. Other objects count by their class's name and their attributes, or by their
    pickle where they have none; what does not pickle either counts by its class alone.

    >>> as_bytes("one") == as_bytes("o" + "ne"), as_bytes("1") == as_bytes(1), as_bytes({1, 2}) == as_bytes({2, 1})
    (True, False, True)
    """
    return _bytes(value, ())


def _bytes(value: Any, around: tuple[Any, ...]) -> bytes:
    """``as_bytes`` of something that is inside of what is ``around`` it, which may be inside of it again."""
    kind = type(value)
    if any(value is other for other in around):
        told = b"again"
    elif kind is str:
        told = value.encode("utf-8", "surrogatepass")
    elif kind in (bytes, bytearray):
        told = bytes(value)
    elif kind in _PLAIN:
        told = repr(value).encode()
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        told = f"{value.dtype.name}{value.shape}".encode() + value.tobytes()
    elif isinstance(value, _NAMED):
        told = str(value.name if isinstance(value, Enum) else value.__qualname__).encode()
    else:
        told = _of_parts(value, (*around, value))
    return kind.__qualname__.encode() + b":" + told


def _of_parts(value: Any, around: tuple[Any, ...]) -> bytes:
    parts: Iterable[Any]
    if isinstance(value, np.ndarray):
        parts = (value.shape, *value.ravel().tolist())
    elif isinstance(value, Mapping):
        parts = (part for item in value.items() for part in item)
    elif isinstance(value, (list, tuple)):
        parts = value
    elif isinstance(value, (set, frozenset)):
        return _joined(sorted(_bytes(part, around) for part in value))
    elif (array := _read(value)) is not None:
        parts = (array,)
    elif attributes := getattr(value, "__dict__", None):
        parts = (part for item in dict(attributes).items() for part in item)
    else:
        return _pickled(value)
    return _joined(_bytes(part, around) for part in parts)


def _read(value: Any) -> np.ndarray | None:
    try:
        plain = as_plain(value)
    except Unreadable:
        return None
    return plain if isinstance(plain, np.ndarray) else None


def _joined(parts: Iterable[bytes]) -> bytes:
    """With the length before each, so that two lists of parts never look alike."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # whatever an object's own methods for that raise
        return b""
