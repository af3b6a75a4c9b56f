"""Where the records of a TFRecord file lie.

    length: uint64   its checksum: uint32   the record   its checksum: uint32        one behind the other, little-endian

A checksum is CRC-32C, rotated and with a number added to it, so that a record may hold checksums itself
(tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import functools
import struct
from array import array
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ReadAt: TypeAlias = Callable[[int, int], bytes]
Checksum: TypeAlias = Callable[[bytes], int]

HEADER, FOOTER = 12, 4
_LENGTH = "<QI"
_FAR = 16 << 10  # bytes of a record beyond which headers are read one by one
_CHUNK = 1 << 20


@functools.cache
def checksum() -> Checksum:
    """What works out the masked checksum of some bytes.

    Raises:
        ImportError: google-crc32c is not installed: ``pip install "datarax-mp[tfrecord]"``.

    >>> hex(checksum()(b"123456789"))
    '0xc78ab0e5'
    """
    try:
        from google_crc32c import value
    except ImportError as error:
        raise ImportError(
            'TFRecord files need google-crc32c: pip install "datarax-mp[tfrecord]"', name="google_crc32c"
        ) from error

    def masked(data: bytes) -> int:
        crc = value(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    return masked


def is_header(header: bytes) -> bool:
    """Whether a record begins so."""
    return len(header) >= HEADER and checksum()(header[:8]) == struct.unpack_from(_LENGTH, header)[1]


def begins_of(read: ReadAt, length: int, path: str) -> NDArray[np.int64]:
    """Where each record begins, with its length, and where the last one ends.

    Args:
        read: gives so many bytes from an offset on; fewer only at the end.
        length: bytes of the file, or of what it holds when it is decompressed.
        path: its name, for messages.

    Raises:
        ValueError: a length's checksum is wrong, or the file is truncated; file, record and offset are named.
    """
    masked = checksum()
    begins = array("q")
    at, start, buffer = 0, 0, b""
    size = 0
    while at < length:
        if at + HEADER > start + len(buffer):
            start, buffer = at, read(at, _CHUNK if size < _FAR else HEADER)
        place = at - start
        if len(buffer) - place < HEADER:
            raise ValueError(_truncated(path, len(begins), at, at + HEADER, length))
        size, told = struct.unpack_from(_LENGTH, buffer, place)
        if masked(buffer[place : place + 8]) != told:
            what = "a TFRecord file" if at == 0 else "a record's length"
            raise ValueError(
                f"{path}, record {len(begins):,} at byte {at:,}: expected {what}, found bytes whose checksum is wrong: "
                "it is something else, or damaged"
            )
        begins.append(at)
        at += HEADER + size + FOOTER
    if at > length:
        raise ValueError(_truncated(path, len(begins) - 1, begins[-1], at, length))
    begins.append(length)
    return np.array(begins, np.int64)


def _truncated(path: str, record: int, at: int, end: int, length: int) -> str:
    return (
        f"{path}, record {record:,} at byte {at:,}: the file is truncated: the record goes on to byte {end:,} at "
        f"least, and the file ends at byte {length:,}"
    )
