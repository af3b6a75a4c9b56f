"""What a record is: names, arrays of numbers, and whatever else travels beside them.

A record is a mapping, an object with named fields, both nested or not, or one bare array or scalar, which is then the
field ``"value"``. Its values divide into *arrays* (anything that reads as numbers, see ``values``) and *info* (text,
bytes, other objects); info travels beside the arrays and ends up in ``batch.info`` and ``Metadata.source_info``.

Which of the two a field is, the first record says for all.

NumPy only: workers import this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.core import values
from datarax_mp.core.foreign import Unreadable, is_of

Path: TypeAlias = tuple[str, ...]
Arrays: TypeAlias = dict[Path, np.ndarray]
Infos: TypeAlias = dict[Path, list[Any]]  # the info of several records, field by field

VALUE_FIELD: Path = ("value",)

# NumPy's own arrays and scalars, and nothing derived from them that may hide values, as a masked array does.
PLAIN_ARRAYS = frozenset({np.ndarray, np.memmap, *np.sctypeDict.values()})

# Values of these kinds have no fields.
_PLAIN = PLAIN_ARRAYS | {bool, int, float, complex, str, bytes, bytearray, type(None), list, tuple}


class RecordError(ValueError):
    """A record that cannot become a row of a batch; the message names record, field, what was expected and found."""


def field_name(path: Path) -> str:
    """How a field is called in messages: nested names joined by a slash."""
    return "/".join(path)


def path_of(name: str, known: Collection[Path]) -> Path:
    """The field of that name among those that are there, or the name's parts as a path if none has it.

    ``"image/encoded"`` is the field ``encoded`` within ``image``, or one field whose own name has a slash in it.

    Raises:
        RecordError: both are there.

    >>> path_of("image/size", [("image", "size")]), path_of("image/size", [("image/size",)])
    (('image', 'size'), ('image/size',))
    """
    found = [path for path in known if field_name(path) == name]
    if len(found) > 1:
        raise RecordError(f"field '{name}': expected one field of that name, found {found}. Rename one of them")
    return found[0] if found else tuple(name.split("/"))


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


def leaves_of(fields: Mapping[Any, Any], whole: Collection[Path] = (), prefix: Path = ()) -> dict[Path, Any]:
    """What a record holds, by path: mappings and objects with named fields in it are taken apart as it is itself.

    Args:
        fields: the record's fields.
        whole: those that are left as they are.
        prefix: where in the record they are.

    Raises:
        RecordError: a name is not a string.

    >>> from typing import NamedTuple
    >>> Size = NamedTuple("Size", [("width", int), ("height", int)])
    >>> leaves_of({"size": Size(4, 3)})
    {('size', 'width'): 4, ('size', 'height'): 3}
    """
    leaves: dict[Path, Any] = {}
    for name, value in fields.items():
        if not isinstance(name, str):
            raise RecordError(f"field names must be strings, found {name!r} of type {type(name).__name__}")
        path = (*prefix, name)
        if type(value) in _PLAIN or (parts := _parts_of(value)) is None or path in whole:
            leaves[path] = value
        else:
            leaves.update(leaves_of(parts, whole, path))
    return leaves


def _parts_of(value: Any) -> Mapping[Any, Any] | None:
    """The fields of a value within a record, or None if it has none, or if it is an array itself, as a Series is."""
    if isinstance(value, Mapping):
        return value
    if hasattr(type(value), "__array__") or hasattr(type(value), "__array_interface__"):
        return None
    return fields_of(value) or None


def split_record(record: Any, number: int, info: Collection[Path] = ()) -> tuple[Arrays, dict[Path, Any]]:
    """Divide one record into its arrays and its info.

    Args:
        record: a mapping (nested ones allowed), an object with named fields, an array or a scalar.
        number: the record's number, for messages.
        info: the fields that are no arrays in the first record, and so are none in this one, whatever they hold.

    Raises:
        RecordError: the record is something else (a tuple, say), or a value looks like numbers and cannot become an
            array.
    """
    if type(record) is dict and not info and (plain := _plain_arrays(record)) is not None:
        return plain, {}
    named = record if type(record) is dict else None if type(record) in PLAIN_ARRAYS else fields_of(record)
    if named is None:
        return _bare(record, number, info)
    try:
        leaves = leaves_of(named, info)
    except RecordError as error:
        raise RecordError(f"record {number}: {error}") from None
    except RecursionError:
        raise RecordError(
            f"record {number}: its objects refer to each other in a circle. Return a dict of what is wanted of them"
        ) from None
    arrays: Arrays = {}
    others: dict[Path, Any] = {}
    for path, value in leaves.items():
        array = None if path in info else as_array(value, number, path)
        if array is None:
            others[path] = values.as_info(value)
        else:
            arrays[path] = array
    return arrays, others


def fields_of(record: Any) -> Mapping[Any, Any] | None:
    """A record's fields by name, or None if it has no names.

    Mappings have names, named tuples, dataclasses (``flax.struct`` among them), objects of attrs and pydantic, and the
    row of a DataFrame.
    """
    if isinstance(record, Mapping):
        return record
    kind = type(record)
    if isinstance(record, tuple) and hasattr(kind, "_fields"):
        return dict(zip(kind._fields, record, strict=True))
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(kind)}
    if attributes := getattr(kind, "__attrs_attrs__", None):
        return {attribute.name: getattr(record, attribute.name) for attribute in attributes}
    if is_of(record, "pydantic", "BaseModel"):
        return {name: getattr(record, name) for name in kind.model_fields}
    if is_of(record, "pandas", "Series"):
        return dict(record.items()) if all(isinstance(name, str) for name in record.index) else None
    return None


def name_fields(record: Any, names: Sequence[str], number: int) -> dict[str, Any]:
    """A record that is a tuple or a list, as a dict.

    Raises:
        RecordError: it is something else, or has more or fewer items than there are names.
    """
    if isinstance(record, (tuple, list)) and len(record) == len(names):
        return dict(zip(names, record, strict=True))
    if isinstance(record, (tuple, list)):
        found = f"a {type(record).__name__} of {len(record)} items"
    else:
        found = f"a {type(record).__name__}"
    raise RecordError(
        f"record {number}: expected a tuple of {len(names)} items, one for each of fields={tuple(names)}, found "
        f"{found}. Name as many fields as the source's tuples have items, or leave fields out where records are dicts"
    )


def _bare(record: Any, number: int, info: Collection[Path]) -> tuple[Arrays, dict[Path, Any]]:
    """A record that is one value."""
    if isinstance(record, (list, tuple)):
        names = ", ".join(f"'field {place}'" for place in range(min(len(record), 3)))
        raise RecordError(
            f"record {number}: expected a mapping of field names to values, an array or a scalar, found "
            f"{type(record).__name__}. Return a dict from the source, such as {{'image': image, 'label': label}}, or "
            f"name the {len(record)} items: Pipeline(..., fields=({names}, ...))"
        )
    array = None if VALUE_FIELD in info else as_array(record, number, VALUE_FIELD)
    if array is not None:
        return {VALUE_FIELD: array}, {}
    if isinstance(record, str) or values.is_bytes(record):
        return {}, {VALUE_FIELD: values.as_info(record)}
    raise RecordError(
        f"record {number}: expected a mapping of field names to values, an array or a scalar, found "
        f"{type(record).__name__}. Return a dict from the source, such as {{'image': image, 'label': label}}"
    )


def _plain_arrays(record: dict[Any, Any]) -> Arrays | None:
    """The quick way for most records: dicts of arrays of numbers and NumPy scalars; None for all others."""
    arrays: Arrays = {}
    for name, value in record.items():
        if type(name) is not str or type(value) not in PLAIN_ARRAYS or value.dtype.kind not in "fiub":
            return None
        arrays[(name,)] = np.asarray(value)
    return arrays


def as_array(value: Any, number: int, path: Path) -> np.ndarray | None:
    """Read a value as numbers, or return None when it is text or another object.

    Raises:
        RecordError: it looks like numbers and cannot become an array without loss.
    """
    try:
        return values.read(value)
    except Unreadable as error:
        raise RecordError(error.about(f"record {number}, field '{field_name(path)}'")) from error.__cause__
