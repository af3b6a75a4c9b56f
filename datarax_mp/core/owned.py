"""What one thread at a time works with, and anybody may want closed at any moment.

    the thread inside         a handler or finalizer      another thread           a process forked
                              in the middle of it                                  from this one
    ----------------------    ------------------------    ---------------------    --------------------
    check, do(work)           check: RuntimeError         do: waits its turn       check: RuntimeError
      work()
      end(), if somebody      close: noted, and done      close: waits a while,    close: nothing; it is
      wants it closed         on the way out              then as to the left      the parent's

Whoever is inside has come in through ``do``, and all that it does there is its ``work``. What somebody wants of it
meanwhile is noted and done by whoever is inside, on the way out: nobody waits for a thread that waits for him.

An exception may come into any line (a signal handler raises, Ctrl-C). It leaves at once, and ``end`` is told that what
was begun is not whole, before any other thread comes in. That is why the lock is taken by a ``with`` statement over a
lock in C: no exception comes between having it and being sure to give it back, as it would in ``__enter__`` of ours.
And that is why ``do`` takes a function, and there is no context manager to be used. Its caller answers an exception
that comes out with ``break_off``: it may have come when the work was done, or into the middle of ending.

A handler that comes before the holder is noted, or after it is crossed out, has come into the middle of nothing: the
lock can be taken again by the thread that has it, and the work is done at once.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from os import getpid
from threading import get_ident
from typing import Any, TypeVar

from datarax_mp.core.trying import if_free

T = TypeVar("T")

End = Callable[[bool], None]

_all: weakref.WeakSet[Owned] = weakref.WeakSet()


class Owned:
    """See the module.

    Args:
        name: how messages call it.
        remedy: what there is to do in a forked process instead, for the message.

    Attributes:
        holder: the thread inside.
        foreign: whether this is another process, which was forked from the one that it belongs to.
        closing: whether somebody wants it to be closed, or has closed it.
        closed: whether it has been closed.
    """

    def __init__(self, name: str, remedy: str) -> None:
        self._name, self._remedy = name, remedy
        self._lock = threading.RLock()
        self._process = getpid()
        self.holder: int | None = None
        self.foreign = self.closing = self.closed = False
        _all.add(self)

    def inside(self) -> bool:
        """Whether this thread is in the middle of ``do``."""
        return self.holder == get_ident()

    def check(self) -> None:
        """Called before ``do``, where nothing has been begun yet that an exception would leave half done.

        It raises nothing as long as there is no ``holder`` and this is not ``foreign``; asking that takes no call.

        Raises:
            RuntimeError: this thread is in the middle of ``do``, or this is another process.
        """
        if self.foreign:
            raise RuntimeError(
                f"this {self._name} belongs to process {self._process}, and process {getpid()} was forked from it; "
                f"{self._remedy}"
            )
        if self.inside():
            raise RuntimeError(
                f"this {self._name} is in the middle of another call, from which a signal handler, a stage or the "
                "source calls it"
            )

    def do(self, work: Callable[..., T], end: End, *given: Any) -> T:
        """Work with it, once no other thread does.

        Args:
            work: what is done.
            given: what it is called with.
            end: what closes it, called when somebody wants that, or when an exception comes out of ``work``; it is told
                whether what was begun is whole. It may be called any number of times.
        """
        with self._lock:
            try:
                self.holder = get_ident()
                result = work(*given)
            except BaseException:
                self._leave(end, whole=False)
                raise
            self.holder = None
            if self.closing:
                self._leave(end, whole=True)
        return result

    def break_off(self, end: End) -> None:
        """End it after an exception that has come out of ``do``, or later, or into the middle of ending."""
        with self._lock:
            self._leave(end, whole=False)

    def close(self, wake: Callable[[], None], end: End, timeout: float) -> None:
        """Close it, or have that done on the way out by whoever is inside.

        Args:
            wake: makes a thread that waits inside come out.
            end: as in ``do``.
            timeout: seconds to wait for another thread to come out.
        """
        if self.closed:  # asked first: a generator may call this when the interpreter has taken ``os`` apart
            return
        if self.foreign:
            return
        self.closing = True
        wake()
        if not self.inside():
            if_free(self._lock, partial(self._leave, end, whole=True), timeout)

    def _leave(self, end: End, *, whole: bool) -> None:
        self.holder = None
        end(whole)
        self.closed = self.closing


def _belong_to_parent() -> None:
    for owned in _all:
        owned.foreign = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_belong_to_parent)
