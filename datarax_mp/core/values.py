"""What one value of a record or a column is: an array of numbers, or something else that travels beside the arrays.

    numbers     NumPy's arrays and scalars, Python's numbers, lists of all of these; and what has its numbers in memory:
                torch tensors, jax.Arrays, PIL images, numeric Series, Arrow arrays (see ``foreign``)
    info        text, bytes, None, any other object; lists of unequal length
    an error    what looks like numbers and would arrive as something else: masked values, nulls, pointers to objects,
                structured and sparse arrays, integers beyond 64 bits

NumPy only: workers import this module.
"""

from __future__ import annotations

import array as arrays
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from datarax_mp.core.foreign import Unreadable, as_plain

# What a list of these becomes, NumPy says alone.
_NUMBERS = (int, float, complex, np.number, np.bool_)
_INTEGERS = (int, np.integer, np.bool_)
_INT64 = 1 << 63
_OF_PYTHON = frozenset({bool, int, float, complex})
_LISTS = frozenset({list, tuple})
_FIXED = frozenset({str, bytes, int, float, complex, bool, type(None)})  # nothing in these changes
_BYTES_FORMATS = ("B", "b", "c")


def read(value: Any) -> np.ndarray | None:
    """A value as an array of numbers, or None if it is no array.

    Raises:
        Unreadable: it looks like numbers, and cannot become an array without loss.

    >>> read([1, 2]), read("text"), read([[1], [2, 3]])
    (array([1, 2]), None, None)
    """
    kind = type(value)
    if kind is np.ndarray:
        return _checked(value)
    if kind in _OF_PYTHON:
        return _checked(np.asarray(value), value)
    if value is None or isinstance(value, (str, bytes, bytearray)):
        return None
    if isinstance(value, (bool, int, float, complex, np.generic)):
        return _checked(np.asarray(value), value)
    if kind in _LISTS:
        return _of_items(value)
    if isinstance(value, (memoryview, arrays.array)):
        return None if is_bytes(value) else _checked(np.asarray(value))
    plain = as_plain(value)
    if isinstance(plain, np.ndarray):
        return _checked(plain)
    if isinstance(plain, range):
        return np.asarray(plain)
    if isinstance(plain, (list, tuple)):
        return _of_items(plain)
    return None if plain is value else read(plain)


def is_bytes(value: Any) -> bool:
    """Whether a value is raw bytes, which are no numbers: bytes, a bytearray, or a view of such."""
    if isinstance(value, memoryview):
        return value.ndim == 1 and value.format in _BYTES_FORMATS
    return isinstance(value, (bytes, bytearray))


def as_info(value: Any) -> Any:
    """A value that is no array, as it waits for its batch and travels with it.

    Memory that a source may use for its next record is copied; a view of bytes, which cannot travel, becomes bytes.
    """
    kind = type(value)
    if kind in _FIXED:
        return value
    if kind in _LISTS:
        return kind([part if type(part) in _FIXED else as_info(part) for part in value])
    if isinstance(value, memoryview):
        return bytes(value)
    return value.copy() if isinstance(value, (bytearray, np.ndarray)) else value


def is_extension(dtype: np.dtype) -> bool:
    """Whether this is a dtype of ml_dtypes, such as bfloat16: NumPy files those under kind V."""
    return dtype.kind == "V" and dtype.type is not np.void


def is_null(value: Any) -> bool:
    """Whether a value says that there is none: None, NumPy's mask, the missing values of pandas and Arrow."""
    return value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType", "NullScalar")


def _checked(array: np.ndarray, value: Any = None) -> np.ndarray | None:
    """The array if it holds numbers, None if it holds text; ``value`` is what it was made of, for the message."""
    if type(array) is not np.ndarray:
        if isinstance(array, np.ma.MaskedArray):
            _check_mask(array)
        array = np.asarray(array)
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind in "UST" or (array.dtype.kind == "V" and array.dtype.type is np.void and not array.dtype.names):
        return None
    if array.dtype.names:
        raise Unreadable(
            f"the structured dtype {array.dtype}",
            f"Pass its fields {list(array.dtype.names)} as fields of their own: array[{array.dtype.names[0]!r}] and so "
            "on",
        )
    if array.dtype.hasobject:
        if isinstance(value, int):
            raise Unreadable(f"an int of {value.bit_length()} bits", "NumPy and JAX hold 64: scale it, or pass text")
        raise Unreadable(
            f"an object array of shape {array.shape}",
            "Give it a numeric dtype, or pass the values as text or plain objects",
        )
    return array


def _check_mask(array: np.ma.MaskedArray) -> None:
    if array.dtype.names or not np.ma.is_masked(array):
        return
    at = np.argwhere(np.ma.getmaskarray(array))[0]
    raise Unreadable(
        f"a masked array with {np.count_nonzero(np.ma.getmaskarray(array))} masked values",
        "Say what is to stand there: array.filled(value)",
        position=int(at[0]) if len(at) else None,
    )


def _of_items(items: Sequence[Any]) -> np.ndarray | None:
    """What a list or tuple is, however deep its lists go."""
    if items and type(items[0]) is int and (integers := _of_integers(items)) is not None:
        return integers
    leaves: Iterable[Any] = items
    while (kinds := set(map(type, leaves))) and kinds <= _LISTS:
        leaves = list(chain.from_iterable(leaves))
    if kinds <= _OF_PYTHON or all(issubclass(kind, _NUMBERS) for kind in kinds):
        return _of_numbers(items, leaves, kinds)
    if kinds & _LISTS:  # lists beside single values
        return None
    if any(map(is_null, leaves)):
        _check_nulls(leaves, nested=leaves is not items)
        return None
    if kinds <= {str, bytes, bytearray} or any(map(is_bytes, leaves)):
        return None
    return _stacked(items)


def _of_integers(items: Sequence[Any]) -> np.ndarray | None:
    """The quick way for many token lists: nothing but integers, or None if that is not so."""
    try:
        array = np.asarray(items)
    except (ValueError, UserWarning):  # lists among them; a mask among them, where warnings are errors
        return None
    return array if array.ndim == 1 and array.dtype.kind == "i" else None


def _of_numbers(items: Sequence[Any], leaves: Iterable[Any], kinds: set[type]) -> np.ndarray | None:
    try:
        array = np.asarray(items)
    except ValueError:  # lists of unequal length
        return None
    if kinds == {float} or array.dtype.kind not in "fO":
        return array
    whole = bool(kinds) and all(issubclass(kind, _INTEGERS) for kind in kinds)
    if whole or array.dtype.hasobject or (np.abs(array) >= 2.0**63).any():
        integers = [int(leaf) for leaf in leaves if isinstance(leaf, _INTEGERS)]
        _check_int64("a list", integers)
        if whole:  # of NumPy's uint64 and others, which it takes for float64
            return np.array(integers, np.int64).reshape(array.shape)
    return array


def _check_int64(what: str, integers: Iterable[int]) -> None:
    for value in integers:
        if not -_INT64 <= value < _INT64:
            raise Unreadable(
                f"{what} with {value}, which no integer type of 64 bits holds beside the others",
                "Give it as a NumPy array of the dtype that is meant",
            )


def _check_nulls(leaves: Iterable[Any], *, nested: bool) -> None:
    """Raise if a null stands among numbers; among other things it is one more object."""
    values = list(leaves)
    others = [value for value in values if not is_null(value)]
    if others and all(isinstance(value, (*_NUMBERS, np.ndarray)) for value in others):
        position = next(place for place, value in enumerate(values) if is_null(value))
        raise Unreadable(
            f"{values[position]!r} among numbers",
            "Put a number there that says so (0, -1, np.nan)",
            position=None if nested else position,
        )


def _stacked(items: Sequence[Any]) -> np.ndarray | None:
    """The items as one array; None if one is no array, or if they are not all of one shape."""
    parts: list[np.ndarray] = []
    for item in items:
        part = read(item)
        if part is None or (parts and part.shape != parts[0].shape):
            return None
        parts.append(part)
    stacked = np.stack(parts)
    if stacked.dtype.kind == "f" and all(part.dtype.kind in "iub" for part in parts):  # as above
        _check_int64("a list of arrays", (int(part.max(initial=0)) for part in parts if part.dtype.kind == "u"))
        return np.stack([part.astype(np.int64) for part in parts])
    return stacked
