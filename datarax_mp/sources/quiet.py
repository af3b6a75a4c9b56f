"""Pillow without its warnings, which filters of the whole process decide about; several threads may decode at once.

``warnings.catch_warnings`` saves the process's list of filters and puts it back: threads that leave it in another order
than they have come leave the wrong list behind, for good. Here one filter is put in front by the first who comes, and
taken out by the last who leaves: of the list that it was put into, and of the one that is in force by then.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_FROM = r"(PIL|datarax_mp)\."  # modules that such warnings are said to come from

_lock = threading.RLock()  # a signal handler may decode an image, too
_inside = 0
_put: tuple[Any, Any] | None = None  # the filter, and the list that it was put into


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is heard of warnings that Pillow's modules give.

    >>> before = list(warnings.filters)
    >>> with quiet():
    ...     warnings.warn_explicit("odd metadata", UserWarning, "Image.py", 1, module="PIL.Image")
    >>> warnings.filters == before
    True
    """
    global _inside, _put
    with _lock:
        if not _inside:
            warnings.filterwarnings("ignore", module=_FROM)
            _put = warnings.filters[0], warnings.filters
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _put is not None:
                (entry, filters), _put = _put, None
                in_force: Any = warnings.filters
                for one in (filters, in_force):
                    with suppress(ValueError):  # whoever has put other filters in force meanwhile has not this one
                        one.remove(entry)
