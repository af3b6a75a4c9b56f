"""A record as bytes, and back: a pickle, and its arrays beside it, which so are copied once and not parsed."""

from __future__ import annotations

import pickle
from typing import Any, TypeAlias

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.parted import head, pieces, starts

Bytes: TypeAlias = NDArray[np.uint8]


def pack(record: Any) -> Bytes:
    """A record as one piece of memory.

    Raises:
        Exception: something in it does not pickle.

    >>> unpack(pack({"x": np.arange(3), "name": "a"}))
    {'x': array([0, 1, 2]), 'name': 'a'}
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(record, 5, buffer_callback=buffers.append)
    if b"main__" in pickled:  # a class of the main script, which another program's main script does not have
        buffers.clear()
        pickled = cloudpickle.dumps(record, 5, buffer_callback=buffers.append)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    begins = starts(sizes)
    size = begins[-1] + sizes[-1]
    packed = np.zeros(size, np.uint8) if size < 4096 else np.empty(size, np.uint8)
    for start, part in zip([0, *begins], [memoryview(head(sizes)), *parts], strict=True):
        packed[start : start + part.nbytes] = part
    return packed


def unpack(packed: Bytes) -> Any:
    """The record. Its arrays look into ``packed``, which is theirs from then on.

    Raises:
        Exception: it does not unpickle, since a class has gone, say.
    """
    pickled, *buffers = pieces(packed.data)
    return pickle.loads(pickled, buffers=buffers)
