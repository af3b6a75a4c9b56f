"""Whether a recipe still is what has been pickled, found out without pickling it again.

    walk, once          each part that can be changed in place ---> a copy of what it held, one level deep
    ``same``, at every  does each part hold the very same objects as then, and each array and tensor the same bytes?
    epoch

A part that holds another object, be it an equal one, counts as changed: then the recipe is pickled again, and the
pickles are compared. So "changed" may be wrong and costs time; "the same" must not be. Whatever cannot be looked into
in this way (a data frame, an object with a way of its own to be pickled) means that there is no snapshot.
"""

from __future__ import annotations

import sys
from abc import get_cache_token
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, starmap
from operator import is_
from typing import Any, NamedTuple

import cloudpickle

from datarax_mp.core.pickling import found_by_name
from datarax_mp.core.strays import is_from_handler
from datarax_mp.shipping.contents import Contents, OpaqueError, Sent, contents_of
from datarax_mp.shipping.parts import ATOMS, Parts, parts_of
from datarax_mp.sources.memory_source import MemorySource, place_together

_LONG = 64  # items, from which on a container is looked through by the types that are in it
_MOST_OBJECTS = 20_000  # which take some 10 ms; with more of them pickling is about as quick


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
        self._contents: list[Contents] = []

    @classmethod
    def of(cls, recipe: Any) -> Snapshot | None:
        """That of a recipe, or None where something in it cannot be looked into."""
        snapshot = cls()
        try:
            snapshot._walk([recipe])
        except OpaqueError:
            return None
        except TypeError:  # a record of a source in it does not pickle, which is told where the recipe is pickled
            if is_from_handler():
                raise
            return None
        return snapshot

    def bind(self, sent: Sent) -> bool:
        """Learn where in the segment the arrays lie; False if one of them is not there as it is."""
        return all(contents.bind(sent) for contents in self._contents)

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
            and all(contents.same(memory) for contents in self._contents)
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
                raise OpaqueError
            if (contents := contents_of(value)) is not None:
                self._contents.append(contents)
                continue
            if isinstance(value, MemorySource):
                sources.append(value)
                continue
            todo += self._take(value)

    def _take(self, value: Any) -> Iterable[Any]:
        """Note what a part holds, and return those things in it that are to be looked at."""
        parts = parts_of(value)
        if parts is None:
            raise OpaqueError
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
            raise OpaqueError
        yield from values


_ROWS = ATOMS | {tuple}


def _around() -> tuple[Any, ...]:
    """What decides how functions and classes are pickled, besides themselves and the version of the code."""
    by_value = cloudpickle.list_registry_pickle_by_value()
    return len(sys.modules), sys.path[:], by_value, get_cache_token(), len(cloudpickle.Pickler.dispatch_table)
