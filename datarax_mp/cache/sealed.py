"""A record's bytes as they lie in a file, with what shows that they are whole, and whose.

| magic 8 | number 8 | size 8 | form 8 | checksum of the bytes 8 | of the five before 8 | 16 unused | bytes |
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from xxhash import xxh3_64_intdigest
except ImportError as error:
    raise ImportError('Cache needs xxhash: pip install "datarax-mp[cache]"', name=error.name) from error

from datarax_mp.cache.packing import Bytes
from datarax_mp.core.whole import read_at, write_at

HEADER = 64
ALIGNED = 64

_MAGIC = b"dxmp-c01"
_FIELDS, _CHECK = struct.Struct("<8sqqqQ"), struct.Struct("<Q")
_PLAIN, _ZSTD = 0, 1


class Sealer:
    """Seals records, and opens what it finds.

    Args:
        level: Zstandard's, or None to keep records as they are.

    Raises:
        ImportError: that is not installed.
    """

    def __init__(self, level: int | None = None) -> None:
        self._compressor = None if level is None else require_zstandard().ZstdCompressor(level=level)

    def seal(self, number: int, packed: Bytes) -> list[memoryview]:
        """What is to be written for a record: the header, and the bytes."""
        data: Any = packed.data if self._compressor is None else memoryview(self._compressor.compress(packed))
        form = _PLAIN if self._compressor is None else _ZSTD
        fields = _FIELDS.pack(_MAGIC, number, data.nbytes, form, xxh3_64_intdigest(data, number))
        header = fields + _CHECK.pack(xxh3_64_intdigest(fields))
        return [memoryview(header.ljust(HEADER, b"\0")), data]

    def open(self, file: int, start: int, number: int) -> Bytes | None:
        """What was sealed for a record, if it is that which lies there, and whole; memory of the caller's own.

        Args:
            file: a descriptor.
            start: where it begins.
            number: the record.

        Raises:
            OSError: the file cannot be read.
        """
        header = os.pread(file, HEADER, start)
        if len(header) < HEADER:
            return None
        fields = header[: _FIELDS.size]
        magic, whose, size, form, checksum = _FIELDS.unpack(fields)
        (check,) = _CHECK.unpack_from(header, _FIELDS.size)
        if check != xxh3_64_intdigest(fields) or (magic, whose) != (_MAGIC, number):
            return None
        data = np.empty(size, np.uint8)
        if read_at(file, start + HEADER, data.data) < size or xxh3_64_intdigest(data.data, number) != checksum:
            return None
        return data if form == _PLAIN else _decompressed(data)


def write(file: int, start: int, parts: Sequence[memoryview]) -> None:
    """Write parts one behind the other.

    Raises:
        OSError: there is no room, or it cannot be written.
    """
    for part in parts:
        write_at(file, start, part)
        start += part.nbytes


def require_zstandard() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import zstandard  # delayed: only where records are compressed
    except ImportError as error:
        raise ImportError('compress= needs zstandard: pip install "datarax-mp[cache]"', name=error.name) from error
    return zstandard


def _decompressed(data: Bytes) -> Bytes:
    zstandard = require_zstandard()
    size = zstandard.get_frame_parameters(data).content_size
    packed = np.empty(size, np.uint8)
    rest: memoryview = packed.data
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        while rest.nbytes and (got := reader.readinto(rest)):
            rest = rest[got:]
    return packed
