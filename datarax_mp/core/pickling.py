"""Pickling values for other processes: by value what those cannot import."""

from __future__ import annotations

import io
import pickle
import sys
import threading
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from datarax_mp.core.importable import importable, unknown_to_workers
from datarax_mp.core.strays import is_chance

Reducer = Callable[[Any], Any]
"""``object -> what __reduce__ returns, or NotImplemented for pickle's own way``."""


def dumps(value: Any) -> bytes:
    """Pickle plain data fast, and by value what a plain pickle would only refer to by a name in the main script.

    For what a worker sends to main, which has all modules that the worker knows.

    Raises:
        Exception: the value does not pickle either way.

    >>> pickle.loads(dumps({"text": "hello"}))
    {'text': 'hello'}
    """
    try:
        pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        if is_chance(lambda: pickle.dumps(value, pickle.HIGHEST_PROTOCOL)):
            raise
        return cloudpickle.dumps(value)
    # The other process does not have the main script's classes; cloudpickle, ten times slower, sends the class itself.
    return cloudpickle.dumps(value) if b"main__" in pickled else pickled


def dumps_for_workers() -> Callable[[Any], bytes]:
    """The same for many values that main sends to workers: by value what those cannot import.

    >>> dumps = dumps_for_workers()
    >>> pickle.loads(dumps({"text": "hello"}))
    {'text': 'hello'}
    """
    # As a pickle begins the name of a class: the module's, with its length before it.
    unknown = [b"\x8c" + bytes([len(name)]) + name for name in map(str.encode, unknown_to_workers()) if len(name) < 256]

    pickle_, protocol, reference = pickle.dumps, pickle.HIGHEST_PROTOCOL, pickle.STACK_GLOBAL  # looked up once

    def dumps(value: Any) -> bytes:
        try:
            pickled = pickle_(value, protocol)
        except Exception:
            if is_chance(lambda: pickle.dumps(value, pickle.HIGHEST_PROTOCOL)):
                raise
            return _dumps_by_value(value)
        if reference in pickled:  # it refers to a class or a function; plain data does not
            for name in unknown:
                if name in pickled:
                    return _dumps_by_value(value)
        return pickled

    return dumps


def _dumps_by_value(value: Any) -> bytes:
    with by_value():
        Pickler(stream := io.BytesIO()).dump(value)
    return stream.getvalue()


class Pickler(cloudpickle.Pickler):
    """Pickles by value whatever the other process cannot import; for use within ``by_value``.

    A subclass adds kinds of objects by overriding ``reducer_for``.

    Attributes:
        modules: the names of those that the other process imports for it.
        kinds: the types of the objects that have been pickled, without those of the simplest kinds.
    """

    def __init__(self, stream: io.IOBase, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None) -> None:
        super().__init__(stream, protocol=5, buffer_callback=buffer_callback)
        self._reducers: dict[type, Reducer | None] = {}
        self.modules: set[str] = set()
        self.kinds: frozenset[type] = frozenset()

    def dump(self, obj: Any) -> None:
        """Write the pickle of an object."""
        try:
            super().dump(obj)
        finally:
            self.kinds = frozenset(self._reducers)
            self._reducers.clear()  # most refer to this object, which then would hold all that it has seen until a gc

    def reducer_override(self, obj: Any) -> Any:
        """Asked by ``pickle`` for every object that is not of one of the simplest kinds."""
        kind = type(obj)
        try:
            reducer = self._reducers[kind]
        except KeyError:
            reducer = self._reducers[kind] = self.reducer_for(kind)
        return NotImplemented if reducer is None else reducer(obj)

    def reducer_for(self, kind: type) -> Reducer | None:
        """How objects of exactly this type are reduced; None is pickle's own way."""
        if kind is CodeType:
            return _reduce_code
        if issubclass(kind, (type, FunctionType)):
            return self.reduce_definition
        if issubclass(kind, (ModuleType, typing.TypeVar)):
            return self._reduce_named
        if kind is BuiltinFunctionType:
            return self._reduce_builtin
        return None

    def reduce_definition(self, obj: Any) -> Any:
        """How a function or a class is reduced: by name or by value."""
        _note(getattr(obj, "__module__", None))
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented:
            self._name(getattr(obj, "__module__", None))
        return reduced

    def _reduce_named(self, obj: Any) -> Any:
        name = obj.__name__ if isinstance(obj, ModuleType) else obj.__module__
        _note(name)
        if importable(name):
            self._name(name)
        return NotImplemented

    def _reduce_builtin(self, function: Any) -> Any:
        self._name(function.__module__)
        return NotImplemented

    def _name(self, module: Any) -> None:
        if isinstance(module, str):
            self.modules.add(module)


def found_by_name(obj: Any) -> bool:
    """Whether a worker finds this very function or class under its name, so that it does not travel by value.

    >>> import json
    >>> found_by_name(json.dumps), found_by_name(lambda: 1)
    (True, False)
    """
    name = getattr(obj, "__module__", None)
    if not isinstance(name, str) or not importable(name) or name in cloudpickle.list_registry_pickle_by_value():
        return False
    found: Any = sys.modules[name]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


class _Unknown(threading.local):
    """The modules that came up in this thread: a list for each ``by_value``, the innermost last."""

    def __init__(self) -> None:
        self.names: list[list[str]] = []


_unknown = _Unknown()
_users: Counter[str] = Counter()  # how many ``by_value`` of all threads need a module on cloudpickle's list
_lock = threading.RLock()


@contextmanager
def by_value() -> Iterator[list[str]]:
    """Inside, cloudpickle sends by value what belongs to modules that workers cannot import.

    Its own list of such modules, which is the process's, is afterwards as it was before.

    Yields:
        The names of these modules, as they come up.
    """
    names: list[str] = []
    _unknown.names.append(names)
    try:
        yield names
    finally:
        _unknown.names.pop()
        for name in names:
            _release(name)


def _note(name: Any) -> None:
    if not isinstance(name, str) or importable(name) or not isinstance(module := sys.modules.get(name), ModuleType):
        return
    own = module.__name__  # by which cloudpickle goes
    if not _unknown.names or own in _unknown.names[-1] or own not in sys.modules:
        return
    with _lock:
        if not _users[own]:
            if own in cloudpickle.list_registry_pickle_by_value():  # the user has done it
                return
            cloudpickle.register_pickle_by_value(sys.modules[own])
        _users[own] += 1
        _unknown.names[-1].append(own)


def _release(name: str) -> None:
    with _lock:
        _users[name] -= 1
        if not _users[name] and name in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(sys.modules.get(name) or ModuleType(name))


def _reduce_code(code: CodeType) -> Any:
    # cloudpickle from 3.1.3 on replaces the file's name, and tracebacks from workers would show no source lines.
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if item == "<dynamic-code>" else item for item in arguments)
