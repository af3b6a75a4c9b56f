"""Which part of a recipe does not pickle, in words: the attribute, global or variable that holds it.

    source (Words).index['handle']      stages[1] (MapElement(parse)), in parse: global 'table'

The recipe is pickled once more by the pickler that Python has in Python, which can be watched: where it fails, the
objects that it is at, one inside the other, say the way. It is slow, but nobody waits for anything else any more.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from types import CellType, FunctionType
from typing import Any, ClassVar

import cloudpickle

from datarax_mp.core.pickling import by_value
from datarax_mp.shipping.pickler import RecipePickler

_CONTAINERS = (list, tuple, dict, set, frozenset)


def explain(recipe: Any, error: Exception) -> str:
    """Say what does not pickle, where it is, and what to do.

    Args:
        recipe: what does not pickle.
        error: what pickling it raised.
    """
    path = _path_to_failure(recipe)
    if not path:
        return f"the pipeline cannot be sent to worker processes: {error}"
    where = _in_words(recipe, path)
    return (
        f"{where} cannot be sent to worker processes: an object of type {type(path[-1]).__name__} does not pickle "
        f"({error}). Make it in the worker, when it is first used (a functools.cache function or a cached_property "
        "does that); or leave it out of __getstate__; or use num_workers=0"
    )


_SIMPLE: dict[type, str] = {
    **{kind: kind.__name__ for kind in (bool, float, bytes, bytearray, str, tuple, list, dict, set, frozenset, type)},
    **{type(None): "none", int: "long", FunctionType: "global", pickle.PickleBuffer: "picklebuffer"},
}


class _Tracer(pickle._Pickler):  # type: ignore[name-defined]
    """Notes which objects it is at."""

    dispatch_table = cloudpickle.Pickler.dispatch_table
    # Python's own; dill, once imported, puts others among them, and with those more pickles than does in truth.
    dispatch: ClassVar = {kind: getattr(pickle._Pickler, f"save_{name}") for kind, name in _SIMPLE.items()}  # type: ignore[attr-defined]

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), 5, buffer_callback=lambda buffer: False)
        self._reduce = RecipePickler(io.BytesIO()).reducer_override
        self.path: list[Any] = []

    def reducer_override(self, obj: Any) -> Any:
        return self._reduce(obj)

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        self.path.append(obj)
        super().save(obj, save_persistent_id)
        self.path.pop()  # left where it is if that has failed


def _path_to_failure(recipe: Any) -> list[Any]:
    tracer = _Tracer()
    try:
        with by_value():
            tracer.dump(recipe)
    except Exception:  # the one that is being explained, or one more reason for it
        path = tracer.path
        roles = _roles(path)
        while path and roles[len(path) - 1] is not Role.OBJECT:
            path.pop()  # rather the object that consists of it
        return path
    return []


class Role(Enum):
    """What something on the way is to what stands before it."""

    OBJECT = "a value that it holds"
    STATE = "what it is made of when it is unpickled"
    FUNCTION = "the same, where it is a function"
    GLOBALS = "__globals__"
    DEFAULTS = "__defaults__"
    KEYWORDS = "__kwdefaults__"
    CLOSURE = "__closure__"


_OF_FUNCTION = {role.value: role for role in (Role.GLOBALS, Role.DEFAULTS, Role.KEYWORDS, Role.CLOSURE)}


def _roles(path: Sequence[Any]) -> list[Role]:
    roles = [Role.OBJECT]
    for place, (outer, inner) in enumerate(pairwise(path)):
        role = Role.OBJECT
        if roles[-1] is Role.FUNCTION:
            role = _OF_FUNCTION.get(_key(outer, inner), Role.OBJECT)
        elif type(inner) in (list, tuple, dict):
            in_state = roles[-1] is Role.STATE and type(outer) is tuple and type(path[place - 1]) is not CellType
            if type(outer) not in _CONTAINERS or in_state:
                role = Role.FUNCTION if type(inner) is dict and "__globals__" in inner else Role.STATE
        roles.append(role)
    return roles


def _in_words(recipe: Any, path: Sequence[Any]) -> str:
    words = ""
    function: Any = None  # the innermost so far
    for outer, inner, role in zip(path, path[1:], _roles(path), strict=False):
        if not words:
            if inner is recipe.source:
                words = f"source ({type(inner).__name__})"
            elif (number := _index(recipe.stages, inner)) is not None:
                words = f"stages[{number}] ({inner.name})"
        else:
            words += _step(role, outer, inner, function)
        function = inner if isinstance(inner, FunctionType) else function
    return words or "the pipeline"


def _step(role: Role, outer: Any, inner: Any, function: Any) -> str:
    """How one comes from something to what it holds."""
    match role:
        case Role.OBJECT if isinstance(outer, dict):
            return f"[{_key(outer, inner)!r}]"
        case Role.OBJECT if isinstance(outer, (list, tuple)) and (number := _index(outer, inner)) is not None:
            return f"[{number}]"
        case Role.STATE if isinstance(outer, dict):
            return f".{_key(outer, inner)}"
        case Role.GLOBALS:
            return f", in {function.__qualname__}: global {_key(outer, inner)!r}"
        case Role.KEYWORDS:
            return f", in {function.__qualname__}: default of {_key(outer, inner)!r}"
        case Role.DEFAULTS:
            named = function.__code__.co_varnames[: function.__code__.co_argcount]
            return f", in {function.__qualname__}: default of {named[_index(outer, inner) - len(outer)]!r}"
        case Role.CLOSURE:
            return f", in {function.__qualname__}: variable {function.__code__.co_freevars[_index(outer, inner)]!r}"
    return ""


def _key(items: dict[Any, Any], item: Any) -> Any:
    return next((key for key, other in items.items() if other is item), None)


def _index(items: Sequence[Any], item: Any) -> Any:
    return next((number for number, other in enumerate(items) if other is item), None)
