"""Reading and writing at an offset until all of it is done: one call of the system may do less than it is asked for."""

from __future__ import annotations

import os

_MOST = 1 << 30  # bytes in one call; Linux takes no more than 2 GB


def write_at(file: int, start: int, part: memoryview) -> None:
    """Write all bytes of a part, from an offset on.

    Raises:
        OSError: there is no room, or it cannot be written.
    """
    while part.nbytes:
        written = os.pwrite(file, part[:_MOST], start)
        part, start = part[written:], start + written


def read_at(file: int, start: int, into: memoryview) -> int:
    """Fill a part with what lies in a file from an offset on.

    Returns:
        How many bytes there were; fewer than wanted only where the file ends.

    Raises:
        OSError: it cannot be read.
    """
    found = 0
    while found < into.nbytes:
        got = os.preadv(file, [into[found : found + _MOST]], start + found)
        if not got:
            break
        found += got
    return found
