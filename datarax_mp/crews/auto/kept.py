"""What the user's code keeps while it reads records: where that changes, threads that share it are not safe.

A file that is opened with the first record, a counter, a cache, a buffer that is used again: in worker processes each
has its own. None of these need be wrong in threads, but nobody here can tell, so that the choice is processes.
"""

from __future__ import annotations

import functools
import io
import logging
import random
from collections import deque
from collections.abc import Iterator
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.recipe.inside import Found, find, inside
from datarax_mp.recipe.recipe import Recipe, named_parts

_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)


class _Held(NamedTuple):
    value: Any
    size: int | None


class Kept:
    """What is in the source and the stages, to be compared with what is there later.

    Args:
        recipe: theirs.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._objects: list[Any] = []

        def note(value: Any) -> bool:
            if not isinstance(value, logging.Logger):  # which is made for threads, and knows all the world
                self._objects.append(value)
                return False
            return True

        find(named_parts(recipe.source, recipe.stages), note)
        self._before = [_contents(value) for value in self._objects]

    def changed(self) -> str | None:
        """What is not what it was, by name."""
        for value, before in zip(self._objects, self._before, strict=True):
            now = _contents(value)
            for name in (*now, *before):
                one, other = before.get(name), now.get(name)
                if one is None or other is None or one.value is not other.value or one.size != other.size:
                    return name
        return None

    def shared(self) -> str | None:
        """What only one may use at a time: an open file, a random generator; by its kind."""
        for value in self._objects:
            if isinstance(value, _GENERATORS) or _is_open(value):
                return f"an object of type {type(value).__name__}"
        return None


def _is_open(value: Any) -> bool:
    return isinstance(value, io.IOBase) and not value.closed and value.readable()


def _contents(value: Any) -> dict[str, _Held]:
    """What is in an object of the user's, by name; nothing of what this package has made for threads."""
    if str(getattr(type(value), "__module__", "")).partition(".")[0] == "datarax_mp":
        return {}
    name = value.__name__ if isinstance(value, FunctionType) else type(value).__name__
    found = {one.name: _Held(one.value, _size(one.value)) for one in (*inside(name, value), *_of_methods(value))}
    return found | {name: _Held(value, _size(value))}


def _of_methods(value: Any) -> Iterator[Found]:
    for base in type(value).__mro__:
        for function in vars(base).values():
            if isinstance(function, FunctionType):
                yield from inside(f"{base.__name__}.{function.__name__}", function)


def _size(value: Any) -> int | None:
    if isinstance(value, functools._lru_cache_wrapper):
        return value.cache_info().currsize
    return len(value) if isinstance(value, (list, dict, set, bytearray, deque)) else None
