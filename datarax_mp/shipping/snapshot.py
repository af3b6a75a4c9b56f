"""Whether a recipe still is what has been pickled, found out without pickling it again.

    walk, once          each part that can be changed in place ---> a copy of what it held, one level deep
    ``same``, at every  does each part hold the very same objects as then, and each array the same bytes?
    epoch

A part that holds another object, be it an equal one, counts as changed: then the recipe is pickled again, and the
pickles are compared. So "changed" may be wrong and costs time; "the same" must not be. Whatever cannot be looked into
in this way (a tensor, a data frame, an object with a way of its own to be pickled) means that there is no snapshot.
"""

from __future__ import annotations

import sys
from abc import get_cache_token
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, starmap
from operator import is_
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from datarax_mp.core.compare import address_of, same_bytes
from datarax_mp.core.pickling import found_by_name
from datarax_mp.core.strays import is_from_handler
from datarax_mp.ring.mapped import is_mapped
from datarax_mp.shipping.parts import ATOMS, Parts, parts_of
from datarax_mp.sources.memory_source import MemorySource, place_together

_LONG = 64  # items, from which on a container is looked through by the types that are in it
_MOST_OBJECTS = 20_000  # which take some 10 ms; with more of them pickling is about as quick
_LARGE = 1 << 16  # bytes of an array, from which on it is compared with what was sent and not copied

Pieces = Mapping[tuple[int, int], int]
"""Where in the segment the memory lies that has an address and a size."""


class _Held(NamedTuple):
    """What a part held."""

    look: Callable[[Any], Sequence[Any]]
    part: Any
    held: list[Any]


class Snapshot:
    """What the parts of a recipe held at one moment. Make it with ``of``, before the recipe is pickled."""

    def __init__(self) -> None:
        self._around = _around()
        self._held: list[_Held] = []
        self._named: list[Any] = []
        self._sources: list[MemorySource] = []
        self._arrays: list[_Array] = []

    @classmethod
    def of(cls, recipe: Any) -> Snapshot | None:
        """That of a recipe, or None where something in it cannot be looked into."""
        snapshot = cls()
        try:
            snapshot._walk([recipe])
        except _OpaqueError:
            return None
        except TypeError:  # a record of a source in it does not pickle, which is told where the recipe is pickled
            if is_from_handler():
                raise
            return None
        return snapshot

    def bind(self, pieces: Pieces) -> bool:
        """Learn where in the segment the arrays lie; False if one of them is not there as it is."""
        return all(array.bind(pieces) for array in self._arrays)

    def same(self, memory: memoryview) -> bool:
        """Whether nothing has changed.

        Args:
            memory: the segment.
        """
        if self._sources:
            place_together(self._sources)  # looks for changes in the user's arrays
        return (
            _around() == self._around
            and all(starmap(_is_same, self._held))
            and all(map(found_by_name, self._named))
            and all(array.same(memory) for array in self._arrays)
        )

    def _walk(self, todo: list[Any]) -> None:
        seen: dict[int, Any] = {}  # keeps them alive, so that no two of them have one id
        sources: list[MemorySource] = []
        while todo or sources:
            if not todo:  # now that all have been met
                place_together(sources)
                self._sources += sources
                todo += [part for source in sources for part in self._take(source)]
                sources = []
                continue
            value = todo.pop()
            if type(value) in ATOMS or id(value) in seen:
                continue
            seen[id(value)] = value
            if len(seen) > _MOST_OBJECTS:
                raise _OpaqueError
            if isinstance(value, np.ndarray):
                self._arrays.append(_Array(value))
                continue
            if isinstance(value, MemorySource):
                sources.append(value)
                continue
            todo += self._take(value)

    def _take(self, value: Any) -> Iterable[Any]:
        """Note what a part holds, and return those things in it that are to be looked at."""
        parts = parts_of(value)
        if parts is None:
            raise _OpaqueError
        if parts.named:
            self._named.append(value)
        if parts.look is None:
            return _of_interest(parts)
        held = list(parts.look(value))
        self._held.append(_Held(parts.look, value, held))
        return _of_interest(parts, held)


def _is_same(look: Callable[[Any], Sequence[Any]], part: Any, held: Sequence[Any]) -> bool:
    now = look(part)
    return len(now) == len(held) and all(map(is_, now, held))


def _of_interest(parts: Parts, held: Sequence[Any] = ()) -> Iterable[Any]:
    for values in (held, parts.inside):
        if len(values) < _LONG:
            yield from values
            continue
        kinds = set(map(type, values))
        if kinds <= ATOMS:
            continue
        if kinds <= _ROWS and set(map(type, chain.from_iterable(v for v in values if type(v) is tuple))) <= ATOMS:
            continue  # rows of plain values, which cannot be changed
        if len(values) > _MOST_OBJECTS:
            raise _OpaqueError
        yield from values


_ROWS = ATOMS | {tuple}


class _Array:
    """An array's form and bytes."""

    def __init__(self, array: np.ndarray) -> None:
        if type(array) not in (np.ndarray, np.memmap) or array.dtype.hasobject:
            raise _OpaqueError
        self._array, self._form = array, _form(array)
        self._copy: bytes | None = None
        self._start: int | None = None
        # What is in a file is not sent, and is everybody's at once; but not what is written to a private mapping.
        self._in_file = is_mapped(array)
        if self._in_file:
            if _mode(array) not in ("r", "r+"):
                raise _OpaqueError
        elif array.nbytes < _LARGE:
            self._copy = array.tobytes()

    def bind(self, pieces: Pieces) -> bool:
        if self._copy is None and not self._in_file:
            self._start = pieces.get((self._form.address, self._array.nbytes))
            return self._start is not None
        return True

    def same(self, memory: memoryview) -> bool:
        array = self._array
        if _form(array) != self._form:
            return False
        if self._start is not None:
            now = array.reshape(-1, order="A").view(np.uint8)
            return same_bytes(now, memory[self._start : self._start + now.nbytes])
        return self._copy is None or array.tobytes() == self._copy


class _Form(NamedTuple):
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    writeable: bool


def _form(array: np.ndarray) -> _Form:
    return _Form(address_of(array), array.shape, array.strides, array.dtype, array.flags.writeable)


def _mode(array: Any) -> str | None:
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return None if array is None else array.mode


def _around() -> tuple[Any, ...]:
    """What decides how functions and classes are pickled, besides themselves and the version of the code."""
    by_value = cloudpickle.list_registry_pickle_by_value()
    return len(sys.modules), sys.path[:], by_value, get_cache_token(), len(cloudpickle.Pickler.dispatch_table)


class _OpaqueError(Exception):
    """Something cannot be looked into."""
