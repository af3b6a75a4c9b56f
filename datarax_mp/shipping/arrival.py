"""A program's arrival in a worker. Nothing of what is needed to send one is imported here."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from datarax_mp.crews.processes.protocol import Load
from datarax_mp.ring.segment import Segment
from datarax_mp.shipping.found_modules import find
from datarax_mp.sources.columns import ArrayColumn, InFile, InSegment


def unpack(message: Load, descriptors: Sequence[int]) -> Any:
    """Make the program out of what arrived, in the worker."""
    payload, *others = [Segment(fd, size) for fd, size in zip(descriptors, message.sizes, strict=True)]
    memory = memoryview(payload.map(private=True))
    parts = [others[-start - 1] if start < 0 else memory[start : start + size] for start, size in message.spans[1:]]
    payload.close()  # the mapping lives on in the buffers
    find(message.found)
    return pickle.loads(memory[: message.spans[0][1]], buffers=parts)


def arrived(part: Any) -> Any:
    """What came beside the pickle."""
    return part


def column_at(home: InSegment | InFile) -> ArrayColumn:
    """A column that lies in shared memory or in a file."""
    return ArrayColumn.at(home)
