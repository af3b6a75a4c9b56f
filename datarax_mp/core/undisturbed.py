"""Work that no signal handler can interrupt: it is done in a thread of its own, and handlers run in the main one."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import TypeVar

from datarax_mp.core.strays import is_stray

T = TypeVar("T")


def undisturbed(work: Callable[[], T]) -> T | BaseException:
    """Do some work that takes a moment, and wait for it.

    The caller can be interrupted meanwhile; then the work is done all the same, and nobody takes what comes of it.

    Returns:
        What the work returns, or what it raises: what is raised here comes from elsewhere.

    >>> undisturbed(lambda: 6 * 7)
    42
    """
    outcome: list[T | BaseException] = []
    done = threading.Lock()

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)
        finally:
            done.release()

    done.acquire()
    try:
        # Not a threading.Thread: an exception in its ``start`` leaves it half registered, and it complains of that.
        _thread.start_new_thread(run, ())
    except RuntimeError as error:
        if is_stray(error):
            raise
        run()  # there can be no further thread
    with done:
        pass
    return outcome.pop()
