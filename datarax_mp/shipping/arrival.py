"""A recipe's arrival in a worker. Nothing of what is needed to send one is imported here."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from datarax_mp.ring.segment import Segment
from datarax_mp.shipping.found_modules import find
from datarax_mp.shipping.load import Load
from datarax_mp.sources.columns import ArrayColumn, InFile, InSegment


def unpack(message: Load, descriptors: Sequence[int]) -> Any:
    """Make the recipe out of what arrived, in the worker."""
    own, *others = [Segment(fd, size) for fd, size in zip(descriptors, message.sizes, strict=True)]
    memory = memoryview(own.map(private=True))
    own.close()  # the mapping lives on in the buffers
    parts: list[Any] = [
        others[part.segment - 1] if part.segment else memory[part.start : part.start + part.size]
        for part in message.parts
    ]
    find(message.found)
    return pickle.loads(parts[0], buffers=parts[1:])


def arrived(part: Any) -> Any:
    """What came beside the pickle."""
    return part


def column_at(home: InSegment | InFile) -> ArrayColumn:
    """A column that lies in shared memory or in a file."""
    return ArrayColumn.at(home)
