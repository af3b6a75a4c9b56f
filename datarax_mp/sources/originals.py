"""The array that a user gave to a source, after the source has put a copy of it into shared memory."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.compare import same_bytes


class Original:
    """Looks at an array without keeping it alive, so that what the user changes in it is noticed.

    What is looked at is the object that has the memory: the array of which this is a view, or an ``array.array``, an
    ``mmap`` or whatever else lends its memory and can be referred to weakly, which a ``bytearray`` cannot.

    Args:
        array: what the user gave, or a view of it.
    """

    def __init__(self, array: np.ndarray) -> None:
        owner, start = _owner_of(array)
        self._owner = weakref.ref(owner)
        self._offset = array.__array_interface__["data"][0] - start
        self._shape, self._strides, self._dtype = array.shape, array.strides, array.dtype
        self._end = np.lib.array_utils.byte_bounds(array)[1] - start
        self._fixed = isinstance(owner, np.ndarray) and (
            not owner.flags.writeable or not (owner.flags.c_contiguous or owner.flags.f_contiguous)
        )

    def changed(self, copy: np.ndarray) -> np.ndarray | None:
        """The array as it is now, if it still exists and is not what was copied; compared at some 20 GB/s."""
        owner = self._owner()
        if owner is None or self._fixed:
            return None
        memory = owner.reshape(-1, order="A").view(np.uint8) if isinstance(owner, np.ndarray) else _lent(owner)
        if memory is None or not memory.flags.writeable or self._end > memory.nbytes:  # closed, or shorter by now
            return None
        now: NDArray = np.ndarray(self._shape, self._dtype, memory.data, self._offset, self._strides)
        if now.flags.c_contiguous and copy.flags.c_contiguous:
            same = same_bytes(now.reshape(-1).view(np.uint8), copy.reshape(-1).view(np.uint8))
        else:
            same = same_bytes(np.ascontiguousarray(now).reshape(-1).view(np.uint8), copy.reshape(-1).view(np.uint8))
        return None if same else now


def _owner_of(array: np.ndarray) -> tuple[Any, int]:
    """Whose memory it is, as far as that can be referred to weakly, and the address at which that begins."""
    owner = array
    while True:
        base = owner.base.obj if isinstance(owner.base, memoryview) else owner.base
        if not isinstance(base, np.ndarray):
            break
        owner = base
    memory = None if base is None or type(base).__weakrefoffset__ == 0 else _lent(base)
    if memory is not None:
        start = memory.__array_interface__["data"][0]
        low, high = np.lib.array_utils.byte_bounds(array)
        if start <= low and high <= start + memory.nbytes:
            return base, start
    return owner, owner.__array_interface__["data"][0]


def _lent(owner: Any) -> NDArray[np.uint8] | None:
    """The memory that an object lends, or None if it has none to lend."""
    try:
        return np.frombuffer(owner, np.uint8)
    except (TypeError, ValueError, BufferError):
        return None
