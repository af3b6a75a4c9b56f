"""A recipe's way into the cluster: each piece of shared memory that it lies in is put into the object store once.

Ray copies an object to a node when the first actor there asks for it, and all actors of the node map that one copy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import ray

from datarax_mp.ring.segment import Segment
from datarax_mp.shipping.arrival import assemble
from datarax_mp.shipping.load import Load
from datarax_mp.shipping.package import SerializedRecipe

_Identity: TypeAlias = tuple[int, int]  # of the file behind a segment


class Package:
    """A serialised recipe in the object store.

    Args:
        serialized: the recipe.
        before: what was put for an older one; a source's segments outlive a recipe, and are not put again.

    Attributes:
        serialized: see above.
        message: how it is put together again.
        memories: references to what it lies in.
    """

    def __init__(self, serialized: SerializedRecipe, before: Package | None = None) -> None:
        self.serialized = serialized
        self.message = serialized.message(probe=None)
        known = {} if before is None else before._put
        self._put: dict[_Identity, ray.ObjectRef] = {}
        self.memories: list[ray.ObjectRef] = []
        for segment in serialized.segments:
            status = os.fstat(segment.descriptor())
            identity = status.st_dev, status.st_ino
            if identity not in self._put:
                self._put[identity] = known.get(identity) or ray.put(_bytes_of(segment))
            self.memories.append(self._put[identity])


def _bytes_of(segment: Segment) -> np.ndarray:
    return np.frombuffer(segment.map(), np.uint8)


class Stored:
    """Stands for a segment where that is not: its bytes lie in the node's object store, which nobody can write to."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory

    def map(self, *, writable: bool = False) -> np.ndarray:
        """Its bytes."""
        return self._memory

    def intact(self) -> bool:
        """Nobody can close it."""
        return True

    @property
    def fd(self) -> int:
        """There is none.

        Raises:
            OSError: always.
        """
        raise OSError(
            "a file that is mapped into memory and has no name any more, or another one's, cannot be opened on another "
            "machine. Keep such data in a MemorySource, or the file under its name"
        )


def unpack(message: Load, memories: Sequence[np.ndarray]) -> Any:
    """Make the recipe out of what lies in this node's object store. What the user's code may write to is copied."""
    own, *others = memories
    return assemble(message, memoryview(bytearray(own)), [Stored(memory) for memory in others])
