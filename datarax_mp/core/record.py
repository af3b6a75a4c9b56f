"""What a record is: names, arrays of numbers, and whatever else travels beside them.

A record is a (nested) mapping, or one bare array or scalar, which is then the field ``"value"``. Its values divide into
*arrays* (anything NumPy reads as numbers) and *info* (text, bytes, other objects); info travels beside the arrays and
ends up in ``Metadata.source_info``.

NumPy only: workers import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

Path: TypeAlias = tuple[str, ...]
Arrays: TypeAlias = dict[Path, np.ndarray]

VALUE_FIELD: Path = ("value",)


class RecordError(ValueError):
    """A record that cannot become a row of a batch; the message names record, field, what was expected and found."""


def field_name(path: Path) -> str:
    """How a field is called in messages: nested names joined by a slash."""
    return "/".join(path)


def as_path(name: str) -> Path:
    """The field of that name: ``as_path("text/tokens") == ("text", "tokens")``."""
    return tuple(name.split("/"))


def clash(path: Path, other: Path) -> bool:
    """Whether one record cannot have both fields: they are the same, or one is a dict that holds the other.

    >>> clash(("a",), ("a", "b")), clash(("a", "b"), ("a", "c"))
    (True, False)
    """
    depth = min(len(path), len(other))
    return path[:depth] == other[:depth]


def nest(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """Build the nested dict whose leaves are given by path.

    >>> nest({("a",): 1, ("b", "c"): 2})
    {'a': 1, 'b': {'c': 2}}
    """
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = leaf
    return tree


def flatten(tree: Mapping[Any, Any], prefix: Path = ()) -> dict[Path, Any]:
    """The leaves of a nested mapping by path, in the mapping's order.

    Raises:
        RecordError: a key is not a string.
    """
    leaves: dict[Path, Any] = {}
    for name, value in tree.items():
        if not isinstance(name, str):
            raise RecordError(f"field names must be strings, found {name!r} of type {type(name).__name__}")
        if isinstance(value, Mapping):
            leaves.update(flatten(value, (*prefix, name)))
        else:
            leaves[*prefix, name] = value
    return leaves


def split_record(record: Any, number: int) -> tuple[Arrays, dict[Path, Any]]:
    """Divide one record into its arrays and its info.

    Args:
        record: a mapping (nested ones allowed), an array or a scalar.
        number: the record's number, for messages.

    Raises:
        RecordError: the record is something else (a tuple, say), or a field holds an array of objects.
    """
    if type(record) is dict and (plain := _plain_arrays(record)) is not None:
        return plain, {}
    if isinstance(record, Mapping):
        try:
            leaves = flatten(record)
        except RecordError as error:
            raise RecordError(f"record {number}: {error}") from None
    elif isinstance(record, (list, tuple, set, type(None))) or (found := as_array(record, number, VALUE_FIELD)) is None:
        if isinstance(record, (str, bytes)):
            return {}, {VALUE_FIELD: record}
        raise RecordError(
            f"record {number}: expected a mapping of field names to values, an array or a scalar, found "
            f"{type(record).__name__}. Return a dict from the source, such as {{'image': image, 'label': label}}"
        )
    else:
        return {VALUE_FIELD: found}, {}
    arrays: Arrays = {}
    info: dict[Path, Any] = {}
    for path, value in leaves.items():
        array = as_array(value, number, path)
        if array is None:
            info[path] = value
        else:
            arrays[path] = array
    return arrays, info


def _plain_arrays(record: dict[Any, Any]) -> Arrays | None:
    """The quick way for most records: dicts of arrays of numbers and NumPy scalars; None for all others."""
    arrays: Arrays = {}
    for name, value in record.items():
        if type(name) is not str or not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "fiub":
            return None
        arrays[(name,)] = value if isinstance(value, np.ndarray) else np.asarray(value)
    return arrays


def as_array(value: Any, number: int, path: Path) -> np.ndarray | None:
    """Read a value as numbers, or return None when it is text or another object."""
    if isinstance(value, np.ndarray):
        array = value
    elif value is None or isinstance(value, (str, bytes, bytearray)):
        return None
    elif isinstance(value, (bool, int, float, complex, np.generic)) or hasattr(value, "__array__"):
        array = np.asarray(value)
    elif isinstance(value, (list, tuple)):
        try:
            array = np.asarray(value)
        except ValueError:  # nested lists of unequal length: an object, not an array
            return None
        if array.dtype.hasobject:
            return None
    else:
        return None
    if array.dtype.hasobject:
        raise RecordError(
            f"record {number}, field '{field_name(path)}': expected numbers, found an object array of shape "
            f"{array.shape}. Give it a numeric dtype, or pass the values as text or plain objects"
        )
    if array.dtype.kind in "USV" and not is_extension(array.dtype):
        if array.dtype.names:
            raise RecordError(
                f"record {number}, field '{field_name(path)}': expected numbers, found the structured dtype "
                f"{array.dtype}. Pass its fields {list(array.dtype.names)} as fields of their own"
            )
        return None
    return array


def is_extension(dtype: np.dtype) -> bool:
    """Whether this is a dtype of ml_dtypes, such as bfloat16: NumPy files those under kind V."""
    return dtype.kind == "V" and dtype.type is not np.void
