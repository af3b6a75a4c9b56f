"""Work under a lock that is not waited for, or not for ever, and is let go whatever a signal handler raises.

A handler may raise behind any call. After ``lock.acquire(blocking=False)`` it can therefore raise before the ``try``
that would let go, or in front of ``release``, and all other threads wait for ever. ``with lock:`` has no such place,
because what it calls is written in C; neither has this. (Python 3.14 has one in either, behind the call that takes the
lock: cpython #148874.)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

from datarax_mp.core.strays import is_interruption


def if_free(lock: Any, work: Callable[[], object], timeout: float = 0.0) -> bool:
    """Do some work under a lock, if that can be had.

    Args:
        lock: a ``threading.RLock``.
        work: what is done.
        timeout: seconds to wait for the lock.

    Returns:
        Whether it could be had.

    >>> import threading
    >>> if_free(threading.RLock(), lambda: print("done"))
    done
    True
    """
    taken = False
    try:
        with _taking(lock, timeout) as taken:
            if taken:
                work()
    except RuntimeError as error:  # what was not taken cannot be let go
        if taken or is_interruption(error):
            raise
    return taken


def _taking(lock: Any, timeout: float) -> AbstractContextManager[bool]:
    """A context manager whose two methods are the lock's own."""
    enter, leave = staticmethod(partial(lock.acquire, timeout=timeout)), staticmethod(lock.__exit__)
    return cast("AbstractContextManager[bool]", type("Taking", (), {"__enter__": enter, "__exit__": leave})())
