"""What makes a recipe's pickle large, in words for the log.

The pickle holds what cannot lie in memory that workers share: lists and dicts of Python objects, text. They are made
anew out of it, by each worker or by the process that workers are forked of; and then a worker makes a copy of every
page whose objects it uses, since that changes the numbers of their references. Their sizes are estimated by looking at
a few items of each container, for pickling once more, piece by piece, would take as long again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from datarax_mp.core.pickling import found_by_name
from datarax_mp.ring.segment import megabytes

log = logging.getLogger("datarax_mp")

LARGE = 50_000_000  # bytes in the pickle, from which on the user is told

_MANY = 64  # items, from which on a container's size is that of a few of them times their number
_LOOKED_AT = 32
_DEEPEST = 20
_CONTAINERS = (list, tuple, dict, set, frozenset)
_PLAIN = 8  # bytes for a number or another small thing

_told: set[str] = set()


def tell(recipe: Any, size: int) -> None:
    """Log what is copied into each worker if that is much; the same only once.

    Args:
        recipe: what was pickled.
        size: bytes of its pickle.
    """
    if size < LARGE:
        return
    where, value, share = _largest(recipe)
    if where in _told:
        return
    _told.add(where)
    what = f"{where}, a {type(value).__name__}{_items(value)} of some {megabytes(share)}" if where else "much of it"
    log.warning(
        "every worker process comes to have a copy of %s of Python objects: %s. Arrays (NumPy, Arrow, torch), data "
        "frames, np.memmap and the data of a MemorySource are shared instead",
        megabytes(size),
        what,
    )


def _items(value: Any) -> str:
    return f" of {len(value)} items" if isinstance(value, _CONTAINERS) else ""


def _largest(recipe: Any) -> tuple[str, Any, int]:
    """The innermost thing that makes up more than half of what is around it: its name, itself and its bytes."""
    sizes = _Sizes()
    parts = [(f"source ({type(recipe.source).__name__})", recipe.source)]
    parts += [(f"stages[{place}] ({stage.name})", stage) for place, stage in enumerate(recipe.stages)]
    name, value, size = "", recipe, sum(sizes.of(part) for _, part in parts)
    while parts:
        label, part = max(parts, key=lambda item: sizes.of(item[1]))
        if sizes.of(part) <= size / 2:
            break
        name, value, size = name + label, part, sizes.of(part)
        parts = list(_parts(part))
    return name, value, size


class _Sizes:
    """Estimated bytes in the pickle."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other object gets the same id

    def of(self, obj: Any, depth: int = 0) -> int:
        if id(obj) not in self._known:
            self._known[id(obj)] = 0  # for what refers to itself
            self._kept.append(obj)
            self._known[id(obj)] = self._estimated(obj, depth)
        return self._known[id(obj)]

    def _estimated(self, obj: Any, depth: int) -> int:
        if isinstance(obj, (str, bytes, bytearray)):
            return len(obj)
        if depth > _DEEPEST:
            return _PLAIN
        if isinstance(obj, np.ndarray):
            obj = obj.ravel().tolist() if obj.dtype.hasobject else None
        if isinstance(obj, _CONTAINERS) and len(obj) > _MANY:
            step = len(obj) // _LOOKED_AT
            looked_at = list(islice(obj.items() if isinstance(obj, dict) else obj, 0, step * _LOOKED_AT, step))
            # None of them counts as known: the others are as large.
            return len(obj) * sum(_Sizes().of(item, depth + 1) for item in looked_at) // len(looked_at)
        return _PLAIN + sum(self.of(part, depth + 1) for _, part in _parts(obj))


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, and how one gets there."""
    if isinstance(obj, _CONTAINERS):
        if len(obj) <= _MANY:
            yield from _of_container(obj)
    elif isinstance(obj, FunctionType):
        if not found_by_name(obj):
            yield from _of_function(obj)
    elif isinstance(obj, MethodType):
        yield "", obj.__self__
    elif not isinstance(obj, type):
        yield from ((f".{name}", value) for name, value in getattr(obj, "__dict__", {}).items())
        slots = [name for kind in type(obj).__mro__ for name in getattr(kind, "__slots__", ())]
        yield from ((f".{name}", getattr(obj, name)) for name in slots if hasattr(obj, name))


def _of_container(obj: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, dict):
        yield from ((f"[{key!r}]", value) for key, value in obj.items())
    else:
        yield from ((f"[{place}]", item) for place, item in enumerate(obj))


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name in code.co_names:
        if name in function.__globals__:
            yield f", global '{name}'", function.__globals__[name]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not assigned yet
            yield f", variable '{name}'", cell.cell_contents
    for value in function.__defaults__ or ():
        yield ", a default", value
