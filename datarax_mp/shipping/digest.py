"""Whether a source or a stage still is what it was: a digest of all that is in it."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from typing import Any

from datarax_mp.core.pickling import Reducer, by_value
from datarax_mp.core.strays import is_chance
from datarax_mp.ring.mapped import MappedFile
from datarax_mp.ring.segment import Segment
from datarax_mp.shipping.pickler import RecipePickler
from datarax_mp.sources.columns import ArrayColumn, InFile, InSegment
from datarax_mp.sources.memory_source import MemorySource


def digest(value: Any) -> bytes:
    """A digest of everything in a value: attributes, arrays, what functions refer to. Some 1 GB/s.

    Objects that do not pickle (a lock, an open file) count by their identity.

    >>> digest([1, "a"]) == digest([1, "a"]) != digest([1, "b"])
    True
    """
    pickler = _Pickler(stream := io.BytesIO())
    with by_value():
        pickler.dump(value)
    hashed = hashlib.blake2b(stream.getbuffer(), digest_size=16)
    for part in pickler.parts:
        if isinstance(part, pickle.PickleBuffer):
            hashed.update(part.raw())
        else:
            hashed.update(repr(os.fstat(part.fd)[:3]).encode())
    return hashed.digest()


class _Pickler(RecipePickler):
    """Takes data as it is, without moving it to shared memory."""

    def reducer_for(self, kind: type) -> Reducer | None:
        if issubclass(kind, ArrayColumn):
            return _reduce_column
        if issubclass(kind, MappedFile):
            return _reduce_file
        reducer = None if issubclass(kind, (MemorySource, Segment)) else super().reducer_for(kind)
        if reducer is None and kind in self.dispatch_table:
            return None  # cloudpickle has a way for these, which themselves have none (cells, views of dicts)
        return reducer or _reduce_or_identify


def _reduce_column(column: ArrayColumn) -> Any:
    home = column.home
    if isinstance(home, InSegment):  # nobody can write to it
        return _token, (id(home.segment), home.offset, home.shape, home.dtype.str)
    if isinstance(home, InFile):
        return _token, (home.file, home.offset, home.shape, home.dtype.str, home.strides)
    return _token, (column.array,)


def _reduce_file(file: MappedFile) -> Any:
    try:
        changed: int | None = os.stat(file.path).st_mtime_ns
    except FileNotFoundError:  # its name is gone
        changed = None
    return _token, (file.identity, file.size, changed)


def _reduce_or_identify(value: Any) -> Any:
    try:
        value.__reduce_ex__(5)
    except Exception:  # whatever its reason, it cannot be looked into
        if is_chance(lambda: value.__reduce_ex__(5)):
            raise
        return _token, (type(value).__qualname__, id(value))
    return NotImplemented


def _token(*_: Any) -> None:
    """What would be made of a digest's pickle, which nobody unpickles."""
