"""The array that a user gave to a source, after the source has put a copy of it into shared memory."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.compare import same_bytes


class Original:
    """Looks at an array without keeping it alive, so that what the user changes in it is noticed.

    Args:
        array: what the user gave, or a view of it.
    """

    def __init__(self, array: np.ndarray) -> None:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        self._owner = weakref.ref(owner)
        self._offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        self._shape, self._strides, self._dtype = array.shape, array.strides, array.dtype
        self._fixed = not owner.flags.writeable or not (owner.flags.c_contiguous or owner.flags.f_contiguous)

    def changed(self, copy: np.ndarray) -> np.ndarray | None:
        """The array as it is now, if it still exists and is not what was copied; compared at some 20 GB/s."""
        owner = self._owner()
        if owner is None or self._fixed or not owner.flags.writeable:
            return None
        memory = owner.reshape(-1, order="A").view(np.uint8)
        now: NDArray = np.ndarray(self._shape, self._dtype, memory.data, self._offset, self._strides)
        if now.flags.c_contiguous and copy.flags.c_contiguous:
            same = same_bytes(now.reshape(-1).view(np.uint8), copy.reshape(-1).view(np.uint8))
        else:
            same = same_bytes(np.ascontiguousarray(now).reshape(-1).view(np.uint8), copy.reshape(-1).view(np.uint8))
        return None if same else now
