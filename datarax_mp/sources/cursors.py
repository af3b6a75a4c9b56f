"""What an iterator says of where it stands, and how it is told to go on from there.

Several libraries have the same pair of methods under two pairs of names, on what is iterated (Hugging Face's streaming
data sets, torch's StatefulDataLoader) or on its iterator (Grain).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from datarax_mp.core.strays import claim

_PAIRS = (("state_dict", "load_state_dict"), ("get_state", "set_state"))


class Stream(NamedTuple):
    """An iterator.

    Attributes:
        iterator: it.
        keeper: what says where it stands, or None if nothing does.
    """

    iterator: Iterator[Any]
    keeper: Any

    @classmethod
    def open(cls, made: Iterable[Any], state: str | bytes | None) -> Stream:
        """An iterator of what was made, that goes on from a state if one is given.

        Raises:
            TypeError: it cannot be iterated; or there is a state, and nothing that takes one.
        """
        try:
            pair = _pair(made)
            if pair is not None and state is not None:
                getattr(made, pair[1])(loaded(state))
            iterator = iter(made)
        except BaseException as error:
            claim(error)
            raise
        if pair is not None:
            return cls(iterator, made)
        if (pair := _pair(iterator)) is None:
            if state is not None:
                raise TypeError(
                    f"the state has where the iterator stands, and {type(iterator).__name__} has neither "
                    "load_state_dict nor set_state; does make give something else than when the state was taken?"
                )
            return cls(iterator, None)
        if state is not None:
            try:
                getattr(iterator, pair[1])(loaded(state))
            except BaseException as error:
                claim(error)
                raise
        return cls(iterator, iterator)

    def state(self) -> str | bytes | None:
        """Where it stands; None if nothing says so."""
        if self.keeper is None:
            return None
        pair = _pair(self.keeper)
        assert pair is not None
        try:
            return packed(getattr(self.keeper, pair[0])())
        except BaseException as error:
            claim(error, f"while {type(self.keeper).__name__}.{pair[0]}() was called")
            raise


def _pair(value: Any) -> tuple[str, str] | None:
    # By the type: an object that answers to any name (a lazy proxy) does not follow this habit.
    kind = type(value)
    return next((pair for pair in _PAIRS if all(callable(getattr(kind, name, None)) for name in pair)), None)


def packed(state: Any) -> str | bytes:
    """A state as JSON, where that gives the same value again, else as a pickle.

    >>> packed({"at": 3}), type(packed({3: "at"}))
    ('{"at": 3}', <class 'bytes'>)
    """
    return pickle.dumps(state, pickle.HIGHEST_PROTOCOL) if not_plain(state) else json.dumps(state)


def loaded(state: str | bytes) -> Any:
    """What was packed."""
    return json.loads(state) if isinstance(state, str) else pickle.loads(state)


def not_plain(value: Any, where: str = "state") -> str | None:
    """What in a value JSON would not give again as it is; None if nothing.

    >>> not_plain({"a": [1, (2, 3)]})
    "state['a'][1] is a tuple"
    """
    if value is None or type(value) in (bool, int, str):
        return None
    if type(value) is float:
        return None if value == value and abs(value) != float("inf") else f"{where} is {value}"
    parts: Iterable[tuple[Any, Any]]
    if type(value) is list:
        parts = enumerate(value)
    elif type(value) is dict:
        if (key := next((key for key in value if type(key) is not str), None)) is not None:
            return f"{where} has the key {key!r} of type {type(key).__name__}"
        parts = value.items()
    else:
        kind = type(value)
        return f"{where} is a {kind.__name__}" + (", a mapping but no dict" if isinstance(value, Mapping) else "")
    found = (not_plain(part, f"{where}[{name!r}]") for name, part in parts)
    return next((one for one in found if one is not None), None)
