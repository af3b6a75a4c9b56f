"""What an object holds that is pickled with it, as far as that can be known without pickling it."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import operator
import pathlib
import re
import types
import typing
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from datarax_mp.core.importable import importable
from datarax_mp.core.pickling import found_by_name
from datarax_mp.shipping.cached_functions import is_dispatcher
from datarax_mp.shipping.need import EVERYWHERE
from datarax_mp.sources.columns import ArrayColumn, InFile, InSegment
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.sources.position import Number

_HEAP_TYPE = 1 << 9  # a class that was made by a ``class`` statement, or could have been (Py_TPFLAGS_HEAPTYPE)
_MISSING = object()


class _Pair(NamedTuple):
    """One whose fields are what those of all named tuples are."""

    first: int


_TUPLE_FIELD: type = type(vars(_Pair)["first"])


# Nobody can change these, or they are pickled by their name alone.
ATOMS: frozenset[type] = frozenset(
    {type(None), type(...), type(NotImplemented), bool, int, float, complex, str, bytes, range}
    | {datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone, decimal.Decimal}
    | {uuid.UUID, re.Pattern, type(pathlib.Path()), pathlib.PurePosixPath, pathlib.PureWindowsPath}
    | {types.CodeType, types.GenericAlias, types.UnionType, typing.TypeVar, type(typing.Any), np.ufunc}
    | {types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType}
    | {types.GetSetDescriptorType, types.MemberDescriptorType, _TUPLE_FIELD}
    | {np.dtype(name).type for name in np.typecodes["All"] if name != "V"}
)


class Parts(NamedTuple):
    """What an object is made of.

    Attributes:
        look: gives what it holds that somebody may replace; None where nobody can.
        inside: what else is in it.
        named: whether it is pickled by its name, for as long as it is found under that.
    """

    look: Callable[[Any], Sequence[Any]] | None = None
    inside: Sequence[Any] = ()
    named: bool = False


_NOTHING = Parts()


def parts_of(value: Any) -> Parts | None:
    """What an object is made of; None where that cannot be known.

    >>> parts_of([1, 2]).look([1, 2]), parts_of(len), parts_of(iter("a"))
    ([1, 2], Parts(look=None, inside=(), named=False), None)
    """
    kind = type(value)
    if (of_kind := _BY_KIND.get(kind)) is not None:
        return of_kind(value)
    if isinstance(value, type):
        return _of_class(value)
    if isinstance(value, (np.dtype, np.generic)):
        return _NOTHING if not isinstance(value, np.void) else None
    if isinstance(value, enum.Enum):
        return Parts(lambda member: _mapping(vars(member)), (kind,))
    if isinstance(value, tuple):
        return Parts(None, (kind, *value)) if hasattr(kind, "_fields") and not hasattr(value, "__dict__") else None
    if isinstance(value, (InSegment, InFile)):
        return _NOTHING
    if isinstance(value, ArrayColumn):
        return Parts(_column, () if value.home is not None else (value.array,))
    if kind.__module__ == "typing" or (kind.__module__, kind.__name__) == ("dataclasses", "_FIELD_BASE"):
        return _NOTHING
    return _of_object(value)


def _of_module(module: types.ModuleType) -> Parts | None:
    return _NOTHING if importable(module.__name__) else None


def _of_builtin(function: Any) -> Parts | None:
    owner = function.__self__
    return _NOTHING if owner is None or isinstance(owner, types.ModuleType) else Parts(None, (owner,))


def _of_function(function: types.FunctionType) -> Parts | None:
    if is_dispatcher(function):
        return None
    if (named := _by_name(function)) is not None:
        return named
    names = tuple(dict.fromkeys(_names(function.__code__)))
    return Parts(functools.partial(_function, names), function.__closure__ or ())


def _function(names: Sequence[str], function: Any) -> Sequence[Any]:
    known = function.__globals__
    state = [function.__code__, function.__defaults__, function.__kwdefaults__, function.__closure__, function.__doc__]
    state += [function.__module__, function.__name__, function.__qualname__]
    state += [known.get(name, _MISSING) for name in names]
    for more in (function.__dict__, function.__annotations__):
        if more:
            state += _mapping(more)
    return state


def _names(code: types.CodeType) -> Sequence[str]:
    """The names of all globals that a function may look at, and of attributes."""
    inner = [name for item in code.co_consts if isinstance(item, types.CodeType) for name in _names(item)]
    return [*code.co_names, *inner]


def _cell(cell: types.CellType) -> Sequence[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return [_MISSING]


def _of_class(kind: type) -> Parts | None:
    if not kind.__flags__ & _HEAP_TYPE:
        return _NOTHING
    return _by_name(kind) or Parts(_class, (type(kind), *kind.__bases__))


def _class(kind: type) -> Sequence[Any]:
    # What abc keeps of a class is another thing whenever that registers one, which it says elsewhere.
    state = {name: value for name, value in vars(kind).items() if name != "_abc_impl"}
    return [kind.__bases__, *state, *state.values()]


def _by_name(definition: Any) -> Parts | None:
    if not found_by_name(definition):
        return None
    return Parts(named=definition.__module__.partition(".")[0] not in EVERYWHERE)


def _of_cached(cached: Any) -> Parts | None:
    return _by_name(cached) or Parts(None, (cached.__wrapped__, vars(cached)))


def _of_object(value: Any) -> Parts | None:
    """An object of a class whose pickles hold its attributes and slots, and nothing else."""
    kind = type(value)
    if kind.__module__.partition(".")[0] == _OURS:
        if (parameters := getattr(kind, "__dataclass_params__", None)) is not None and parameters.frozen:
            return Parts(None, [getattr(value, name) for name in kind.__dataclass_fields__])
    elif not _pickles_plainly(kind) or not _is_all(value):
        return None
    if isinstance(value, MemorySource):
        return Parts(_source, (kind,))
    members = [member for base in kind.__mro__ for member in vars(base).values()]
    slots = [member.__name__ for member in members if type(member) is types.MemberDescriptorType]
    return Parts(functools.partial(_object, slots), (kind,))


def _pickles_plainly(kind: type) -> bool:
    return (
        all(getattr(kind, name) is getattr(object, name) for name in _PICKLING)
        and getattr(kind, "__getstate__", None) in _STATES
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
        and not issubclass(kind, (list, dict))
        and kind not in cloudpickle.Pickler.dispatch_table
    )


def _is_all(value: Any) -> bool:
    """Whether there is no more to an object than attributes and slots, as there may be to one that is made in C."""
    try:
        object.__reduce_ex__(value, 2)
    except TypeError:
        return False
    return True


def _object(slots: Sequence[str], value: Any) -> Sequence[Any]:
    attributes = getattr(value, "__dict__", _NO_ATTRIBUTES)
    values = [getattr(value, name, _MISSING) for name in slots]
    return [type(value), *attributes, *attributes.values(), *values]


def _source(source: MemorySource) -> Sequence[Any]:
    attributes = {name: value for name, value in vars(source).items() if name != "rngs"}
    return [type(source), *attributes, *attributes.values()]


def _column(column: ArrayColumn) -> Sequence[Any]:
    return [column.home] if column.home is not None else [column.home, column.array]


def _mapping(items: Any) -> Sequence[Any]:
    return [*items, *items.values()]


def _itself(items: Any) -> Any:
    return items


_OURS = __name__.partition(".")[0]
_PICKLING = ("__reduce_ex__", "__reduce__", "__getattribute__")
_NO_ATTRIBUTES: dict[str, Any] = {}
_STATES = (getattr(object, "__getstate__", None), MemorySource.__getstate__)  # Python has one from 3.11 on

_BY_KIND: dict[type, Callable[[Any], Parts | None]] = {
    tuple: lambda items: Parts(None, items),
    frozenset: lambda items: Parts(None, list(items)),
    list: lambda items: Parts(_itself),
    deque: lambda items: Parts(_itself, (items.maxlen,)),
    set: lambda items: Parts(list),
    dict: lambda items: Parts(_mapping),
    OrderedDict: lambda items: Parts(_mapping, (vars(items),) if vars(items) else ()),
    Counter: lambda items: Parts(_mapping),
    defaultdict: lambda items: Parts(lambda now: [now.default_factory, *_mapping(now)]),
    Number: lambda number: Parts(lambda now: [now.get()]),
    types.MappingProxyType: lambda items: Parts(_mapping),
    types.SimpleNamespace: lambda space: Parts(lambda now: _mapping(vars(now))),
    types.ModuleType: _of_module,
    types.BuiltinFunctionType: _of_builtin,
    types.FunctionType: _of_function,
    types.CellType: lambda cell: Parts(_cell),
    types.MethodType: lambda method: Parts(None, (method.__self__, method.__func__)),
    staticmethod: lambda method: Parts(None, (method.__func__,)),
    classmethod: lambda method: Parts(None, (method.__func__,)),
    property: lambda item: Parts(None, (item.fget, item.fset, item.fdel, item.__doc__)),
    functools.cached_property: lambda item: Parts(None, (item.func,)),
    functools.partial: lambda item: Parts(lambda now: now.__reduce__()[2]),  # asked for, its attributes come to be
    operator.itemgetter: lambda item: Parts(None, item.__reduce__()[1]),
    operator.attrgetter: lambda item: Parts(None, item.__reduce__()[1]),
    type(functools.lru_cache(print)): _of_cached,
    type(_MISSING): lambda item: _NOTHING,
}
