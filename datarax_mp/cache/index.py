"""The index of one writer's records: lines of 40 bytes, appended when the record has been written.

    | number 8 | start 8 | size 8, with its header | 0 | checksum of these |

A line that was not written to its end, or whose checksum says that it is none, does not count.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.hashing import mix64_each

LINE = np.dtype([("number", "<i8"), ("start", "<i8"), ("size", "<i8"), ("unused", "<i8"), ("check", "<u8")])

_SALT = np.uint64(0x6A09E667F3BCC908)


def line(number: int, start: int, size: int) -> memoryview:
    """The line of a record."""
    lines = np.array([(number, start, size, 0, 0)], LINE)
    lines["check"] = _check(lines)
    return memoryview(lines.tobytes())


def lines_of(file: int, begin: int) -> NDArray[np.void]:
    """The lines of an index from byte ``begin`` on, those that do not count among them with ``size`` 0.

    Raises:
        OSError: it cannot be read.
    """
    size = (os.fstat(file).st_size - begin) // LINE.itemsize * LINE.itemsize
    data = os.pread(file, size, begin) if size > 0 else b""
    lines = np.frombuffer(data[: len(data) // LINE.itemsize * LINE.itemsize], LINE).copy()
    lines["size"][_check(lines) != lines["check"]] = 0
    lines["start"][lines["size"] <= 0] = 0
    lines["size"][lines["size"] <= 0] = 0
    return lines


def _check(lines: NDArray[np.void]) -> NDArray[np.uint64]:
    words = np.full(len(lines), _SALT, np.uint64)
    for name in ("number", "start", "size"):
        words = mix64_each(words ^ lines[name].astype("<i8").view(np.uint64))
    return words
