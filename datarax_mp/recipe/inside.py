"""Finding objects inside of a source and of stages: attributes, small containers, closures, and what wrappers wrap."""

from __future__ import annotations

import functools
import itertools
import os
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_MOST_ITEMS = 64  # of a container: larger ones hold records, not parts of a recipe, unless the first item is wanted
_MOST_OBJECTS = 5_000
_DEEPEST = 12
# Nothing of interest is inside of these, and they are what there is most of.
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), np.ndarray, np.generic, type, types.ModuleType)


class Found(NamedTuple):
    """An object, and the way to it as a user would write it."""

    name: str
    value: Any


def find(roots: Mapping[str, Any], wanted: Callable[[Any], bool]) -> list[Found]:
    """The objects that are ``wanted``, each once. What is inside of one that is wanted is its own affair.

    Args:
        roots: where to begin, by name.
        wanted: asked once for each object that is reached.
    """
    found: list[Found] = []
    todo = [(Found(name, value), 0) for name, value in reversed(list(roots.items()))]
    seen: dict[int, Any] = {}  # keeps them alive, so that no two of them have one id
    while todo and len(seen) < _MOST_OBJECTS:
        at, depth = todo.pop()
        if isinstance(at.value, _PLAIN) or id(at.value) in seen:
            continue
        seen[id(at.value)] = at.value
        if wanted(at.value):
            found.append(at)
        elif depth < _DEEPEST:
            parts = [*inside(*at), *_many(*at, wanted)]
            todo += [(part, depth + 1) for part in reversed(parts)]
    return found


def _many(name: str, value: Any, wanted: Callable[[Any], bool]) -> Iterator[Found]:
    """The items of a large container, where what is wanted is what it holds: the data sets of a hundred shards, say."""
    if not isinstance(value, (list, tuple, dict)) or len(value) <= _MOST_ITEMS:
        return
    first = next(iter(value.values() if isinstance(value, dict) else value))
    if not isinstance(first, _PLAIN) and wanted(first):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from (Found(f"{name}[{key!r}]", item) for key, item in itertools.islice(items, _MOST_OBJECTS))


def inside(name: str, value: Any) -> Iterator[Found]:
    """What an object consists of, one level deep, plain values among it; nothing of a large container."""
    kind = type(value)
    if isinstance(value, types.FunctionType):
        yield from _of_function(name, value)
    elif isinstance(value, types.MethodType):
        yield Found(_short(name), value.__self__)
    elif isinstance(value, functools.partial):
        yield Found(f"{name}.func", value.func)
        yield from (Found(f"{name}.args[{place}]", item) for place, item in enumerate(value.args))
        yield from (Found(f"{name}.keywords[{key!r}]", item) for key, item in value.keywords.items())
    elif kind in (list, tuple, set, frozenset) or isinstance(value, (list, tuple)):
        if len(value) <= _MOST_ITEMS:
            yield from (Found(f"{name}[{place}]", item) for place, item in enumerate(value))
    elif isinstance(value, dict) and len(value) <= _MOST_ITEMS:
        yield from (Found(f"{name}[{key!r}]", item) for key, item in list(value.items()))
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield from (Found(f"{name}.{key}", item) for key, item in list(attributes.items()))
    for base in kind.__mro__:
        for slot, descriptor in base.__dict__.items() if "__slots__" in base.__dict__ else ():
            if isinstance(descriptor, types.MemberDescriptorType) and hasattr(value, slot):
                yield Found(f"{name}.{slot}", getattr(value, slot))


def _of_function(name: str, function: types.FunctionType) -> Iterator[Found]:
    code = function.__code__
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Found(f"{name}, variable '{variable}'", cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    yield from (Found(f"{name}, a default argument", item) for item in function.__defaults__ or ())
    yield from (Found(f"{name}, argument '{key}'", item) for key, item in (function.__kwdefaults__ or {}).items())
    if _is_the_users(function):
        for variable in dict.fromkeys(_names(code)):
            if variable in function.__globals__:
                yield Found(f"{name}, global '{variable}'", function.__globals__[variable])


def _is_the_users(function: types.FunctionType) -> bool:
    """Whether it is of a script or a module of the user's: what a library's functions refer to is the whole library."""
    file = str(function.__globals__.get("__file__") or "")
    ours = str(function.__globals__.get("__name__")).partition(".")[0] == "datarax_mp"
    return not ours and "site-packages" not in file and os.path.dirname(file) != os.path.dirname(os.__file__)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _short(name: str) -> str:
    return name.removesuffix(".fn")
