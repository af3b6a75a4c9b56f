"""tf.train.Example without TensorFlow: features by name, each a list of bytes, of float32 or of int64.

    message Example   { Features features = 1; }
    message Features  { map<string, Feature> feature = 1; }
    message Feature   { oneof kind { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; } }
    message BytesList { repeated bytes value = 1; }       FloatList and Int64List likewise, packed or not
                                                          (tensorflow/core/example/example.proto and feature.proto)

Features that nobody has asked for are passed over, and cost what finding their ends costs.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from datarax_mp.formats.wire import BYTES, FIXED32, VARINT, fields, int64s, only

Span: TypeAlias = tuple[int, int]

NAME = 1 << 3 | BYTES  # how an entry begins
KINDS = {1: "bytes", 2: "float32", 3: "int64"}


class Values(NamedTuple):
    """What a feature holds.

    Attributes:
        kind: "bytes", "float32" or "int64"; "" where it holds nothing and does not say of what kind.
        values: a list of bytes, or an array ``(n,)``, which may be read-only.
    """

    kind: str
    values: Any


def spans_of(data: bytes) -> dict[str, list[Span]]:
    """Where in an Example each feature's message lies; several parts are one behind the other.

    Raises:
        ValueError: this is no Example.
    """
    found: dict[str, list[Span]] = {}
    for number, wire, begin, end in fields(data, 0, len(data)):
        if wire != BYTES or number > 2:
            raise ValueError(f"expected a tf.train.Example, found a message with field {number} at byte {begin:,}")
        if number == 2:
            raise ValueError("expected a tf.train.Example, found a SequenceExample, which is not supported")
        for number, wire, at, stop in fields(data, begin, end):
            if number != 1 or wire != BYTES:
                raise ValueError(f"expected a tf.train.Example, found field {number} of Features at byte {at:,}")
            name, parts = _entry(data, at, stop)
            found[name] = parts
    return found


def _entry(data: bytes, at: int, end: int) -> tuple[str, list[Span]]:
    """A name, and where its feature's message lies."""
    if end - at > 2 and data[at] == NAME and (value := at + 2 + data[at + 1]) < end and data[at + 1] < 128:
        number, begin = only(data, value, end)
        if number == 2:
            return data[at + 2 : value].decode(), [(begin, end)]
    name, parts = "", list[Span]()
    for number, _, begin, stop in fields(data, at, end):
        if number == 1:
            name = data[begin:stop].decode()
        elif number == 2:
            parts.append((begin, stop))
    return name, parts


def values_of(data: bytes, parts: list[Span]) -> Values:
    """What a feature holds.

    Raises:
        ValueError: this is no Feature.
    """
    kind, lists = 0, list[Span]()
    if len(parts) == 1:
        [(at, end)] = parts
        kind, at = only(data, at, end)
        number, begin = only(data, at, end)
        if kind in KINDS and number == 1:
            return Values(KINDS[kind], [data[begin:end]] if kind == 1 else _READ[kind](data, begin, end))
        kind = 0
    for part in parts:
        for number, wire, begin, end in fields(data, *part):
            if number not in KINDS or wire != BYTES:
                raise ValueError(f"expected a list of values at byte {begin:,}, found field {number} of a Feature")
            if number != kind:  # of several kinds the last one holds
                kind, lists = number, []
            lists.append((begin, end))
    if kind == 0:
        return Values("", [])
    if kind == 1:
        return Values("bytes", [data[begin:end] for one in lists for _, _, begin, end in _items(data, one, (BYTES,))])
    alone, empty = (FIXED32, np.float32) if kind == 2 else (VARINT, np.int64)
    arrays = [_READ[kind](data, begin, end) for one in lists for _, _, begin, end in _items(data, one, (BYTES, alone))]
    return Values(KINDS[kind], arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, empty), *arrays]))


def _items(data: bytes, one: Span, wires: Container[int]) -> list[tuple[int, int, int, int]]:
    items = fields(data, *one)
    for number, wire, begin, _ in items:
        if number != 1 or wire not in wires:
            raise ValueError(f"expected values at byte {begin:,}, found field {number} of wire type {wire}")
    return items


def _floats(data: bytes, begin: int, end: int) -> np.ndarray:
    if (end - begin) % 4:
        raise ValueError(f"expected floats of 4 bytes at byte {begin:,}, found {end - begin:,} bytes")
    return np.frombuffer(data, "<f4", (end - begin) // 4, begin).astype(np.float32, copy=False)


_READ = {2: _floats, 3: int64s}
