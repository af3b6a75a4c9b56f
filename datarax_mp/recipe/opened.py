"""Sources that are context managers: entered in each process that reads their records, and left when it is through."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from datarax_mp.core.foreign import is_of
from datarax_mp.core.strays import claim, is_interruption
from datarax_mp.sources.facts import SaysFacts
from datarax_mp.sources.memory_source import MemorySource

log = logging.getLogger("datarax_mp")

_DATA = (str, bytes, np.ndarray, list, tuple, dict)
_MOST_PARTS = 4096  # of a list: longer ones hold names, not sources


class Opened:
    """The sources of a recipe that have ``__enter__`` and ``__exit__``, in this process.

    Threads may share one.

    Args:
        source: the recipe's, which may be made of others.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lock = threading.RLock()  # a signal handler may come in the middle, and begin an epoch or close
        self._entered: list[Any] | None = None
        self._entering = False

    def enter(self) -> None:
        """Enter them, unless that has been done.

        Raises:
            Exception: what ``__enter__`` raises; those that had been entered are left.
            TypeError: it gives something else than the source, which would not be what records are read from.
        """
        if self._entered is not None:
            return
        with self._lock:
            if self._entered is not None:
                return
            if self._entering:
                raise RuntimeError("the source is being entered just now, and a signal handler wants its records")
            self._entering = True
            entered: list[Any] = []
            try:
                for source in managers(self._source):
                    given = source.__enter__()
                    entered.append(source)
                    if given is not None and given is not source:
                        raise TypeError(
                            f"{type(source).__name__}.__enter__ returned an object of type {type(given).__name__}: "
                            "records are read from the source itself, so that it must return that"
                        )
            except BaseException as error:
                if isinstance(error, Exception):
                    claim(error, "while the source was entered")
                _leave(entered)
                raise
            finally:
                self._entering = False
            self._entered = entered

    def leave(self) -> None:
        """Leave those that have been entered, the last one first; an error is told in the log."""
        with self._lock:
            entered, self._entered = self._entered or [], None
        _leave(entered)


def managers(source: Any) -> Iterator[Any]:
    """A source, and those that it is made of, as far as they are context managers; inner ones come first."""
    if isinstance(source, SaysFacts) and not isinstance(source, MemorySource):
        for value in list(vars(source).values()):
            for part in value[:_MOST_PARTS] if isinstance(value, (list, tuple)) else (value,):
                if not isinstance(part, _DATA) and _has(part, "__len__", "__getitem__"):
                    yield from managers(part)
    # A Hugging Face data set, once left, has let go of its tables for good, and the user may want it afterwards.
    if _has(source, "__enter__", "__exit__") and not is_of(source, "datasets", "Dataset"):
        yield source


def _has(value: Any, *names: str) -> bool:
    return all(hasattr(type(value), name) for name in names)


def _leave(entered: list[Any]) -> None:
    interruption: Exception | None = None
    for source in reversed(entered):
        try:
            source.__exit__(None, None, None)
        except Exception as error:
            if is_interruption(error):  # when the others have been left
                interruption = error
                continue
            log.error("%s.__exit__ raised %r", type(source).__name__, error, exc_info=True)
    if interruption is not None:
        raise interruption
