"""Copies of records that are Python objects, so that what a stage does to one record stays with that one.

A worker makes its records of pickles, anew each time. In the process that the objects lie in nothing would be in
between: what a stage wrote into a dict or an array would change the user's data, and be there in the next epoch.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from datarax_mp.core.record import PLAIN_ARRAYS
from datarax_mp.core.strays import is_chance

# Of these nothing can be changed, so that they need no copy.
_FIXED = frozenset({str, bytes, int, float, complex, bool, type(None), *PLAIN_ARRAYS} - {np.ndarray, np.memmap})


def own_copy(value: Any) -> Any:
    """A copy of a record or of one of its values; where an object cannot be copied, the object.

    >>> record = {"x": np.zeros(2), "names": ["a"]}
    >>> copied = own_copy(record)
    >>> copied["x"] += 1
    >>> copied["names"].append("b")
    >>> record
    {'x': array([0., 0.]), 'names': ['a']}
    """
    return value if type(value) in _FIXED else _copied(value, {})


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy, with the memo of ``copy.deepcopy``: what stands twice in a record does so in its copy, as in a pickle."""
    known = memo.get(id(value))
    if known is not None:
        return known
    kind = type(value)
    if kind is dict:  # much the cheaper way for what records mostly are
        memo[id(value)] = copied = value.copy()
        for name, part in value.items():
            if type(part) not in _FIXED:
                copied[name] = _copied(part, memo)
        return copied
    if kind is list:
        memo[id(value)] = parts = list[Any]()
        parts += [part if type(part) in _FIXED else _copied(part, memo) for part in value]
        return parts
    if kind is np.ndarray and not value.dtype.hasobject:
        memo[id(value)] = array = value.__copy__()
        return array
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # a lock, an open file: no worker could have it, and here it is what the user gave
        if is_chance(lambda: copy.deepcopy(value)):
            raise
        return value
