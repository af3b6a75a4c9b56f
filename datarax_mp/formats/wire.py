"""Messages of Protocol Buffers on the wire, as far as tf.train.Example needs them (protobuf.dev, "Encoding").

message    (tag  value)  (tag  value)  ...           tag = field number << 3 | wire type
varint     seven bits a byte, lowest first; all bytes but the last one have their highest bit set
value      0: a varint    1: 8 bytes    2: a varint, and so many bytes    5: 4 bytes
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = tuple[int, int, int, int]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_FEW = 16  # bytes of varints that are read one by one, more quickly than all together
_LONGEST = 10  # bytes of a varint


def fields(data: bytes, at: int, end: int) -> list[Field]:
    """The fields of a message: number, wire type, and where the value begins and ends.

    Raises:
        ValueError: there is no such message; the message says where.

    >>> fields(bytes([8, 150, 1, 18, 2, 104, 105]), 0, 7)
    [(1, 0, 1, 3), (2, 2, 5, 7)]
    """
    found: list[Field] = []
    while at < end:
        tag = data[at]
        at += 1
        if tag > 127:
            tag, at = varint(data, at - 1, end)
        wire = tag & 7
        if wire == BYTES:
            size = data[at] if at < end else 128
            at += 1
            if size > 127:
                size, at = varint(data, at - 1, end)
            begin, at = at, at + size
        elif wire == VARINT:
            begin = at
            _, at = varint(data, at, end)
        elif wire in _FIXED:
            begin, at = at, at + _FIXED[wire]
        else:
            raise ValueError(f"expected a field of a message near byte {at - 1:,}, found wire type {wire}")
        if at > end or tag < 8:
            raise ValueError(f"expected a field of {at - begin:,} bytes at byte {begin:,}, found {end - begin:,} bytes")
        found.append((tag >> 3, wire, begin, at))
    return found


def only(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number of the one field that fills a message, which is of bytes, and where its value begins.

    That is what most messages within an Example are, and this is several times as quick as ``fields``.

    Returns:
        Zeros if it is another message, or none.

    >>> only(bytes([18, 2, 104, 105]), 0, 4), only(bytes([18, 1, 104, 105]), 0, 4)
    ((2, 2), (0, 0))
    """
    if end - at < 2 or data[at] & 0x87 != BYTES:
        return 0, 0
    size, begin = data[at + 1], at + 2
    if size > 127:
        if end - at < 3:
            return 0, 0
        size, begin = size & 127 | data[begin] << 7, begin + 1
        if size > 0x3FFF:
            try:
                size, begin = varint(data, at + 1, end)
            except ValueError:
                return 0, 0
    return (data[at] >> 3, begin) if begin + size == end else (0, 0)


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An unsigned integer, and where it ends.

    Raises:
        ValueError: there is none.
    """
    value = shift = 0
    for place in range(at, min(end, at + _LONGEST)):
        byte = data[place]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place + 1
        shift += 7
    raise ValueError(f"expected a varint at byte {at:,}, found no end of it")


def int64s(data: bytes, at: int, end: int) -> NDArray[np.int64]:
    """Integers that lie one behind the other, as two's complement; a new array ``(n,)``.

    Raises:
        ValueError: the last one has no end, or one is too long.

    >>> int64s(bytes([1, 150, 1, *[255] * 9, 1]), 0, 13)
    array([  1, 150,  -1])
    """
    if end - at <= _FEW:
        values = []
        while at < end:
            value, at = varint(data, at, end)
            values.append(value & 0xFFFF_FFFF_FFFF_FFFF)
        return np.array(values, np.uint64).view(np.int64)
    raw = np.frombuffer(data, np.uint8, end - at, at)
    last = np.flatnonzero(raw < 128)
    if len(last) == len(raw):
        return raw.astype(np.int64)
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else np.zeros(1, np.int64)
    lengths = last - first + 1 if len(last) else np.array([len(raw)])
    if not len(last) or last[-1] != len(raw) - 1 or lengths.max() > _LONGEST:
        raise ValueError(f"expected varints from byte {at:,} up to {end:,}, found one without an end")
    found = np.zeros(len(first), np.uint64)
    for place in range(int(lengths.max())):
        those = lengths > place
        bits = (raw[first[those] + place] & 127).astype(np.uint64) << np.uint64(7 * place)
        found[those] |= bits
    return found.view(np.int64)
