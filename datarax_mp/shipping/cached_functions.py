"""Functions that ``functools`` has made something of, defined where workers cannot import them.

``cache`` and ``lru_cache`` arrive with an empty cache, so that what such a function opens is opened once in every
worker. ``singledispatch`` arrives with everything that has been registered. What a ``cached_property`` has computed in
main arrives, too, unless it does not pickle: then the worker computes its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

from datarax_mp.core.pickling import found_by_name

_Cached = type(functools.lru_cache(print))
_dispatching: Any = functools.singledispatch(print)
_DISPATCHER = _dispatching.__code__


def reducer_for(kind: type) -> Callable[[Any], Any] | None:
    """How objects of this type are reduced, or None if it is none of these."""
    if kind is _Cached:
        return _reduce_cached
    if kind is functools.cached_property:
        return _reduce_property
    if kind is functools.singledispatchmethod:
        return _reduce_method
    return None


def is_dispatcher(function: FunctionType) -> bool:
    """Whether ``singledispatch`` has made this function; ``reduce_dispatcher`` then reduces it."""
    return function.__code__ is _DISPATCHER


def properties(kind: type) -> frozenset[str]:
    """The names of all ``cached_property`` attributes of a class."""
    attributes = [item for base in kind.__mro__ for item in vars(base).items()]
    return frozenset(name for name, value in attributes if isinstance(value, functools.cached_property))


def reduce_without(names: frozenset[str], pickles: Callable[[Any], bool], obj: Any) -> Any:
    """Reduce an object without the values of properties that do not pickle; it computes them anew when asked."""
    reduced = obj.__reduce_ex__(5)
    if not isinstance(reduced, tuple) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    state = {name: value for name, value in reduced[2].items() if name not in names or pickles(value)}
    return (*reduced[:2], state, *reduced[3:])


def _reduce_cached(cached: Any) -> Any:
    if found_by_name(cached):
        return NotImplemented
    limits = cached.cache_parameters()
    extra = {name: value for name, value in vars(cached).items() if name not in _COPIED}
    return _cached, (cached.__wrapped__, limits["maxsize"], limits["typed"]), extra or None


def _cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_property(cached: Any) -> Any:
    state = {name: value for name, value in vars(cached).items() if name not in ("func", "lock")}  # a lock until 3.11
    return functools.cached_property, (cached.func,), state


def _reduce_method(method: Any) -> Any:
    state = {name: value for name, value in vars(method).items() if name != "_method_cache"}  # from 3.12 on; is weak
    return functools.singledispatchmethod, (method.func,), state


def reduce_dispatcher(dispatcher: Any) -> Any:
    """Reduce a function that ``singledispatch`` has made; NotImplemented where workers can import it."""
    if found_by_name(dispatcher):
        return NotImplemented
    first = dispatcher.__wrapped__
    others = [(kind, function) for kind, function in dispatcher.registry.items() if kind is not object]
    extra = {name: value for name, value in vars(dispatcher).items() if name not in _COPIED}
    return functools.singledispatch, (first,), (others, extra), None, None, _register


def _register(dispatcher: Any, state: tuple[list[tuple[type, Any]], dict[str, Any]]) -> None:
    others, extra = state
    for kind, function in others:
        dispatcher.register(kind, function)
    vars(dispatcher).update(extra)


# What functools gives its functions itself.
_COPIED = frozenset(vars(_dispatching)) | {"__wrapped__", "cache_parameters"}
