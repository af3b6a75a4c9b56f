"""A recipe's arrival in a worker. Nothing of what is needed to send one is imported here."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from datarax_mp.ring.segment import Segment
from datarax_mp.shipping.found_modules import find
from datarax_mp.shipping.load import Load, Part
from datarax_mp.sources.columns import ArrayColumn, InFile, InSegment


def unpack(message: Load, descriptors: Sequence[int]) -> Any:
    """Make the recipe out of what arrived, in the worker."""
    own, *others = [Segment(fd, size) for fd, size in zip(descriptors, message.sizes, strict=True)]
    memory = memoryview(own.map(private=True))
    own.close()  # the mapping lives on in the buffers
    return assemble(message, memory, others)


def assemble(message: Load, memory: memoryview, others: Sequence[Any]) -> Any:
    """Make the recipe out of its own memory, which is this process's to write to, and of what stands for the segments.

    Those are segments, or have their ``map``.
    """
    find(message.found)
    parts = gather(message.parts, memory, others)
    return pickle.loads(parts[0], buffers=parts[1:])


def gather(places: Sequence[Part], memory: memoryview, others: Sequence[Any]) -> list[Any]:
    """What lies in these places: the pickle, and what is beside it."""
    return [
        others[part.segment - 1] if part.segment else memory[part.start : part.start + part.size] for part in places
    ]


def arrived(part: Any) -> Any:
    """What came beside the pickle."""
    return part


def column_at(home: InSegment | InFile) -> ArrayColumn:
    """A column that lies in shared memory or in a file."""
    return ArrayColumn.at(home)
