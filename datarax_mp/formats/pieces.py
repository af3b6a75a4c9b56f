"""Pieces of files, read where they lie, by offset."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datarax_mp.storage.reading import read_remote
from datarax_mp.storage.remote import Remote


class Stamp(NamedTuple):
    """By what a file is known to be the one that it was.

    Attributes:
        size: in bytes.
        mtime_ns: when it was written, in ns since 1970; or a number that stands for its ETag.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: str | int) -> Stamp:
        """That of a file, by its name or descriptor."""
        if isinstance(file, Remote):
            return cls(file.size, file.mark)
        there = os.stat(file)
        return cls(there.st_size, there.st_mtime_ns)

    def check(self, path: str, file: int | None = None) -> None:
        """Make sure that a file is still the one that it was; ``file`` is its descriptor where it is open.

        Raises:
            OSError: it is another one.
        """
        found = Stamp.of(path if file is None else file)
        if found != self:
            raise OSError(
                f"{path}: expected the file of {self.size:,} bytes that was there when the source was made, found one "
                f"of {found.size:,} bytes that was written since. Make the source anew"
            )


def read_at(file: io.FileIO) -> Callable[[int, int], bytes]:
    """What gives so many bytes of an open file, which nobody else uses, from an offset on; fewer only at its end."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # or the system reads far ahead of every place

    def read(at: int, size: int) -> bytes:
        file.seek(at)
        return file.read(size)

    return read


def read_piece(path: str, stamp: Stamp, begin: int, end: int) -> NDArray[np.uint8]:
    """The bytes of a file from ``begin`` up to ``end``.

    Raises:
        OSError: it cannot be read, is shorter, or is another one than it was.
    """
    if isinstance(path, Remote):
        stamp.check(path)
        return read_remote(path, begin, end)
    piece = np.empty(end - begin, np.uint8)
    with open(path, "rb", buffering=0) as file:
        stamp.check(path, file.fileno())
        file.seek(begin)
        read = 0
        while read < len(piece):
            more = file.readinto(piece[read:].data)
            if not more:
                raise OSError(f"{path}: expected bytes up to {end:,}, found the end of the file at {begin + read:,}")
            read += more
    return piece


def even_runs(begins: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """What lies in a file one behind the other, cut into runs of about equally many bytes.

    Args:
        begins: int64 ``(n,)``, where each begins.
        ends: int64 ``(n,)``, where each ends.
        size: about how many bytes a run has.

    Returns:
        The first of each run, and the end; only the end where there is nothing.

    >>> import numpy as np
    >>> even_runs(np.arange(0, 70, 10), np.arange(10, 80, 10), 33).tolist()
    [0, 4, 7]
    """
    if not len(begins):
        return np.zeros(1, np.int64)
    length = int(ends[-1] - begins[0])
    runs = max(1, round(length / size))
    borders = begins[0] + np.arange(1, runs) * length // runs
    return np.unique(np.concatenate([[0], np.searchsorted(begins, borders), [len(begins)]]))
