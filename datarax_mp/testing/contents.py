"""What a record or a batch holds, so that two can be compared and the difference be told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from datarax_mp.core.foreign import Unreadable
from datarax_mp.core.record import VALUE_FIELD, field_name, fields_of, leaves_of
from datarax_mp.core.values import read
from datarax_mp.ledger.objects import as_bytes


def of_batch(batch: Any) -> dict[str, Any]:
    """Everything in a batch, or in a single element, by name: arrays as NumPy's, lists of what is no array."""
    if isinstance(batch, Mapping):
        return _plain(batch)
    numbers = [item.index for item in batch.metadata]
    beside = {"batch.valid_mask": np.asarray(batch.valid_mask), "batch.metadata[...].index": numbers}
    return {**_plain(batch.get_data()), **_plain(batch.info), **beside}


def of_record(record: Any) -> dict[str, Any]:
    """Everything in a record, by name."""
    if isinstance(record, (tuple, list)) and not hasattr(record, "_fields"):
        return _plain({f"item {place}": value for place, value in enumerate(record)})
    fields = fields_of(record)
    return _plain({VALUE_FIELD[0]: record} if fields is None else fields)


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {field_name(path): _value(value) for path, value in leaves_of(tree).items()}


def _value(value: Any) -> Any:
    try:
        array = read(value)
    except Unreadable:
        array = None
    return value if array is None else array


def digests(contents: Mapping[str, Any]) -> dict[str, str]:
    """A few characters for each field, the same for the same values; to remember what would take too much memory."""
    return {name: _digest(value) for name, value in contents.items()}


def _digest(value: Any) -> str:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        told = b"|".join([str(value.dtype).encode(), str(value.shape).encode(), np.ascontiguousarray(value).tobytes()])
    else:
        told = as_bytes(value)
    return hashlib.blake2b(told, digest_size=12).hexdigest()


def number_of(record: Any) -> int:
    """A record's contents as one number, which a worker can send."""
    told = repr(sorted(digests(of_record(record)).items())).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=7).digest(), "little")


def difference(one: Mapping[str, Any], other: Mapping[str, Any], first: str, second: str) -> str | None:
    """The first thing in which the contents of two batches or records differ, in words; None if there is none.

    Args:
        one: contents, or digests.
        other: contents, or digests, of what should be the same.
        first: what the first one is called.
        second: what the other one is called.

    >>> difference({"x": np.arange(3)}, {"x": np.array([0, 7, 2])}, "a", "b")
    "field 'x' differs in 1 of 3 rows, first in row 1: 1 in a, 7 in b"
    """
    if one.keys() != other.keys():
        return f"the fields differ: {sorted(one)} in {first}, {sorted(other)} in {second}"
    for name, mine in one.items():
        theirs = other[name]
        if type(mine) is np.ndarray and type(theirs) is np.ndarray:
            told = _of_arrays(mine, theirs, first, second)
        else:
            told = None if _equal(mine, theirs) else f"differs: {_brief(mine)} in {first}, {_brief(theirs)} in {second}"
        if told is not None:
            return f"field '{name}' {told}"
    return None


def _of_arrays(mine: Any, theirs: Any, first: str, second: str) -> str | None:
    if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
        return f"differs: {_kind(mine)} in {first}, {_kind(theirs)} in {second}"
    unequal = (mine != theirs) & ~((mine != mine) & (theirs != theirs))  # NaN is NaN
    if not unequal.any():
        return None
    if not mine.ndim:
        return f"differs: {mine} in {first}, {theirs} in {second}"
    rows = np.flatnonzero(unequal.reshape(len(mine), -1).any(axis=1))
    row = int(rows[0])
    shown = f"{_brief(mine[row])} in {first}, {_brief(theirs[row])} in {second}"
    return f"differs in {len(rows)} of {len(mine)} rows, first in row {row}: {shown}"


def _equal(mine: Any, theirs: Any) -> bool:
    return type(mine) is type(theirs) and _digest(mine) == _digest(theirs)


def _kind(array: Any) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        text = np.array2string(value, threshold=8, edgeitems=2)
    else:
        text = str(value) if isinstance(value, np.generic) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:77]}..."
