"""What is there of a file that lies elsewhere: its bytes, with holes, and which of them are there.

    data    the file's bytes, in its size; what was not read yet is a hole
    have    a byte for each part of 256 KiB: 1 once it is there

A part counts as there only when it has reached the disk, so that no end of a process or of the machine leaves one that
is taken for read. Two processes that read the same part write the same bytes.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.descriptors import above_standard
from datarax_mp.core.whole import read_at, write_at

PART: Final = 256 << 10


class Entry:
    """An entry of a cache folder, open.

    Args:
        place: its folder.
        size: bytes of the file.

    Raises:
        FileNotFoundError: it is not there, or no more.
        OSError: it cannot be opened.
    """

    def __init__(self, place: str, size: int) -> None:
        self.data_path, self.have_path = (os.path.join(place, name) for name in ("data", "have"))
        self._parts = parts_of(size)
        files: list[int] = []
        weakref.finalize(self, _close, files)
        for path in (self.data_path, self.have_path):
            files.append(above_standard(os.open(path, os.O_RDWR | os.O_CLOEXEC)))
        self._files = files
        os.utime(files[1])  # when it was used last

    @property
    def data(self) -> int:
        """The descriptor of the file's bytes."""
        return self._files[0]

    @property
    def is_gone(self) -> bool:
        """Whether it was taken out of the folder, and lives on only while it is open."""
        return os.fstat(self.data).st_nlink == 0

    def missing(self, begin: int, end: int) -> NDArray[np.int64]:
        """The parts that are not there, of those that some bytes lie in."""
        first, last = begin // PART, parts_of(end)
        have = np.frombuffer(os.pread(self._files[1], last - first, first), np.uint8)
        return first + np.flatnonzero(have != 1)

    def write(self, begin: int, data: bytes) -> None:
        """Put bytes in their place; they do not count as there yet.

        Raises:
            OSError: there is no room.
        """
        write_at(self.data, begin, memoryview(data))

    def mark(self, parts: Iterable[int]) -> None:
        """Have parts count as there that were written."""
        os.fdatasync(self.data) if hasattr(os, "fdatasync") else os.fsync(self.data)
        for part in parts:
            os.pwrite(self._files[1], b"\1", part)

    def read(self, begin: int, end: int) -> NDArray[np.uint8]:
        """Bytes that are there.

        Raises:
            OSError: the disk does not give them.
        """
        found = np.empty(end - begin, np.uint8)
        if (got := read_at(self.data, begin, memoryview(found.data))) < len(found):
            raise OSError(f"{self.data_path}: expected bytes up to {end:,}, found the end at {begin + got:,}")
        return found


def create(place: str, size: int) -> None:
    """Make an entry of which nothing is there.

    Args:
        place: its folder, which is not there.
        size: bytes of the file.
    """
    os.mkdir(place, 0o700)
    for name, length in (("data", size), ("have", parts_of(size))):
        file = above_standard(os.open(os.path.join(place, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            os.ftruncate(file, length)
        finally:
            os.close(file)


def parts_of(size: int) -> int:
    """How many parts so many bytes have."""
    return -(-size // PART)


def _close(files: list[int]) -> None:
    while files:
        os.close(files.pop())
