"""Several pieces of memory in one.

How many they are and their sizes come first, as int64; then the pieces, each where an array may begin:

    | 2 | size | size |    | piece       |     | piece    |
    0                      64                  a multiple of ``core.spec.ALIGNMENT``
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datarax_mp.core.spec import align


def head(sizes: Sequence[int]) -> bytes:
    """What stands before the pieces."""
    return np.array([len(sizes), *sizes], np.int64).tobytes()


def starts(sizes: Sequence[int]) -> list[int]:
    """Where each piece begins.

    >>> starts([100, 0, 5])
    [64, 192, 192]
    """
    end, found = 8 * (1 + len(sizes)), list[int]()
    for size in sizes:
        found.append(align(end))
        end = found[-1] + size
    return found


def pieces(memory: memoryview) -> list[memoryview]:
    """The pieces, out of memory that begins with their ``head``.

    >>> [bytes(piece) for piece in pieces(memoryview(head([3, 2]).ljust(64) + b"abc".ljust(64) + b"de"))]
    [b'abc', b'de']
    """
    count = int(np.frombuffer(memory, np.int64, 1)[0])
    sizes = np.frombuffer(memory, np.int64, count, 8).tolist()
    return [memory[start : start + size] for start, size in zip(starts(sizes), sizes, strict=True)]
