"""Pickling values that may hold objects of the user's main script."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle


def dumps(value: Any) -> bytes:
    """Pickle plain data fast, and by value what a plain pickle would only refer to by a name in the main script.

    Raises:
        Exception: the value does not pickle either way.

    >>> pickle.loads(dumps({"text": "hello"}))
    {'text': 'hello'}
    """
    try:
        pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return cloudpickle.dumps(value)
    # The other process does not have the main script's classes; cloudpickle, ten times slower, sends the class itself.
    return cloudpickle.dumps(value) if b"__main__" in pickled else pickled
