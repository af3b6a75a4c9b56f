"""A fingerprint of a source and of stages: the same in every process and on every day, as long as they are the same.

Values are hashed by what they hold, functions and classes by their code (``cache.code``), open handles by the data that
they give (``cache.handles``), and each part by itself, so that it does not matter which objects are shared. What holds
no data is left out: locks, handles that are only written to, what a ``cached_property`` has found, where a source
stands. Hashes are XXH3's of 128 bits (https://github.com/Cyan4973/xxHash), which nobody is to be kept from forging.
"""

from __future__ import annotations

import copyreg
import functools
import os
import pickle
import sys
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

try:
    from xxhash import xxh3_128
except ImportError as error:
    raise ImportError('Cache needs xxhash: pip install "datarax-mp[cache]"', name=error.name) from error

from datarax_mp.cache import code
from datarax_mp.cache.errors import FingerprintError as FingerprintError
from datarax_mp.cache.handles import Data, data_of
from datarax_mp.cache.stamps import stamp, stamps
from datarax_mp.core.strays import is_from_handler
from datarax_mp.ring.mapped import Mappings, is_mapped
from datarax_mp.shipping.copied_generators import is_generator
from datarax_mp.sources.columns import ArrayColumn, ObjectColumn
from datarax_mp.sources.config import MemorySourceConfig
from datarax_mp.sources.facts import SaysFacts
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.sources.position import Number
from datarax_mp.storage.options import Storage
from datarax_mp.storage.remote import Remote

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented)})
_NOT_WHAT = (Number, MemorySourceConfig, Storage)  # which record comes when, or how it is reached, and not what it is

_of_objects: weakref.WeakKeyDictionary[ObjectColumn, bytes] = weakref.WeakKeyDictionary()


def fingerprint(parts: Mapping[str, Any]) -> str:
    """The fingerprint of some values.

    Args:
        parts: them, by how messages call them.

    Raises:
        FingerprintError: one of them holds what has no content that could be hashed.
        ValueError: one of them holds a random generator.

    >>> one = fingerprint({"source": [1, 2, {"a": np.arange(3)}]})
    >>> one == fingerprint({"source": [1, 2, {"a": np.arange(3)}]}) != fingerprint({"source": [1, 2]}), len(one)
    (True, 32)
    """
    walk = _Walk()
    return str(xxh3_128(b"".join(walk.of(value, name) for name, value in parts.items())).hexdigest())


def _hashed(*parts: Any) -> bytes:
    hashed = xxh3_128()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    return hashed.digest()


class _Walk:
    """One look at all of it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Any]] = {}  # with the objects, so that no two of them have one id
        self._given: dict[int, tuple[Data, Any]] = {}  # what handles give, likewise
        self._open: dict[int, int] = {}  # those that are being looked at, by how deep

    def of(self, value: Any, name: str) -> bytes:
        """The hash of a value; ``name`` is the way to it, for messages."""
        kind = type(value)
        if kind in _ATOMS:
            return _hashed(kind.__name__.encode(), repr(value).encode("utf-8", "surrogatepass"))
        if (known := self._known.get(id(value))) is not None:
            return known[0]
        if (depth := self._open.get(id(value))) is not None:
            return _hashed(b"cycle", str(depth).encode())
        self._open[id(value)] = len(self._open)
        try:
            found = self._look(value, kind, name)
        except RecursionError as error:
            raise FingerprintError(f"Cache: {name[:200]} is nested too deeply to be looked into") from error
        finally:
            del self._open[id(value)]
        self._known[id(value)] = found, value
        return found

    def _look(self, value: Any, kind: type, name: str) -> bytes:
        if is_generator(kind):
            raise ValueError(
                f"{name} is a random generator ({kind.__name__}), and what stands before Cache is computed once. Put "
                "what is random behind it: RandomMapElement(fn), whose fn gets a generator"
            )
        if isinstance(value, np.ndarray):
            return self._array(value, name)
        if kind in (list, tuple):
            return self._several(kind.__name__, value, name)
        if kind is dict:
            items = [self.of(part, f"{name}[...]") for pair in value.items() for part in pair]
            return _hashed(b"dict", *items)
        if kind in (set, frozenset):
            return _hashed(kind.__name__.encode(), *sorted(self.of(part, name) for part in value))
        if isinstance(value, (np.generic, np.dtype)):
            return _hashed(repr(value).encode(), value.tobytes() if isinstance(value, np.generic) else b"")
        if (parts := code.parts_of(value)) is not None:
            return _hashed(b"code", *(self.of(part, f"{name}: {what}" if what else name) for what, part in parts))
        if isinstance(value, ArrayColumn):
            return self.of(value.array, name)
        if isinstance(value, ObjectColumn):
            return self._objects(value, name)
        if isinstance(value, Remote):
            where = None if value.tag else dict(value.storage.options)  # an ETag tells two servers' files apart
            return self._several("remote", (str(value), value.size, value.tag, where), name)
        if isinstance(value, os.PathLike):
            return _hashed(b"path", os.fsencode(value), stamp(os.fsencode(value)))
        return self._object(value, kind, name)

    def _several(self, kind: str, values: Iterable[Any], name: str) -> bytes:
        values = list(values)
        kinds = set(map(type, values))
        if len(values) > 64 and kinds <= _ATOMS:
            return _hashed(kind.encode(), b"atoms", repr(values).encode("utf-8", "surrogatepass"))
        return _hashed(kind.encode(), *(self.of(part, f"{name}[{place}]") for place, part in enumerate(values)))

    def _array(self, array: np.ndarray, name: str) -> bytes:
        head = f"{array.dtype!r} {array.dtype.str} {array.shape}".encode()
        if array.dtype.hasobject:
            return _hashed(head, self._several("objects", array.ravel().tolist(), name))
        if is_mapped(array):
            low, high = np.lib.array_utils.byte_bounds(array)
            place = Mappings().place(low, high - low)
            if place is not None and place.file.mode != "c" and place.file.segment is None:
                offset = place.offset + array.__array_interface__["data"][0] - low
                where = f"{offset}{array.strides}".encode()
                return _hashed(head, where, os.fsencode(place.file.path), stamp(os.fsencode(place.file.path)))
        return _hashed(head, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _objects(self, column: ObjectColumn, name: str) -> bytes:
        """A list is taken over and does not change; later it lies there in another form."""
        if (known := _of_objects.get(column)) is None:
            known = self._several("objects", (column[number] for number in range(len(column))), name)
            _of_objects[column] = known
        return known

    def _object(self, value: Any, kind: type, name: str) -> bytes:
        parts = [self.of(kind, name)]
        if (data := self._data_of(value, name)) is not None:
            return _hashed(*parts, *(self.of(part, name) for part in data))
        if isinstance(value, pickle.PickleBuffer):
            view = memoryview(value)
            return _hashed(*parts, value.raw() if view.c_contiguous else view.tobytes())
        if isinstance(value, MemorySource):
            value.refresh()
            parts.append(self.of(dict(value.columns_by_path), name))
            if kind is MemorySource:
                return _hashed(*parts)
        if callable(files := getattr(kind, "data_files", None)):
            parts.append(stamps(map(os.fsencode, filter(_is_path, files(value)))))
        reduced = _reduced(value, name)
        if isinstance(reduced, str):
            return _hashed(*parts, reduced.encode())
        make, arguments, state, *items = (*reduced, None)[: max(3, len(reduced))]
        parts += [self.of(part, name) for part in (make, arguments, *map(_listed, items))]
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            parts += self._attributes(value, part, name) if type(part) is dict else [self.of(part, name)]
        return _hashed(*parts)

    def _data_of(self, handle: Any, name: str) -> Data:
        """See ``data_of``; asked once of each handle, for what one holds in memory is copied for it."""
        if (known := self._given.get(id(handle))) is not None:
            return known[0]
        if (data := data_of(handle, name)) is not None:
            self._given[id(handle)] = data, handle
        return data

    def _attributes(self, value: Any, state: Mapping[str, Any], name: str) -> list[bytes]:
        found = []
        known = _kept_by_memory_source() if isinstance(value, MemorySource) else ()
        for attribute, part in sorted(state.items(), key=lambda item: str(item[0])):
            if isinstance(getattr(type(value), str(attribute), None), functools.cached_property):
                continue
            if attribute in known or part is None or type(part) in _NOT_WHAT:
                continue
            if self._data_of(part, f"{name}.{attribute}") == []:
                continue  # such a handle is not there before it is needed
            if attribute == "rngs" and isinstance(value, SaysFacts):
                continue
            found += [str(attribute).encode(), self.of(part, f"{name}.{attribute}")]
        return found


def _reduced(value: Any, name: str) -> Any:
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        return value.__reduce_ex__(5) if reduce is None else reduce(value)
    except Exception as error:
        if is_from_handler():
            raise
        raise FingerprintError(
            f"Cache: whether {name} is what it was cannot be known: a {type(value).__name__} shows nothing of what it "
            f"holds ({error}). Keep it out of the object's state (__getstate__), or make it where it is used"
        ) from error


def _listed(part: Any) -> Any:
    return list(part) if hasattr(part, "__next__") else part


def _is_path(value: Any) -> bool:
    """Whether it names a file: what a class that is derived from one of ours calls ``files`` may be something else."""
    return isinstance(value, (str, bytes, os.PathLike))


@functools.cache
def _kept_by_memory_source() -> frozenset[str]:
    """The attributes that a MemorySource has by itself; a class that is derived from it may have others."""
    return frozenset(vars(MemorySource(MemorySourceConfig(), np.zeros(1)))) - {"config"}  # it may be derived, too


def surroundings() -> list[Any]:
    """What else decides what comes out: versions."""
    return [sys.version_info[:2], np.__version__, code.our_code()]
