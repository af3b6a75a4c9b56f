"""What will be wanted next, asked for while what is wanted now is decoded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from datarax_mp.core.strays import is_interruption

Found = TypeVar("Found")

log = logging.getLogger("datarax_mp")


class ReadAhead(Generic[Found]):
    """Things that are brought into the cache in threads, up to some at a time.

    Whoever needs one of them waits for it, and gets what went wrong with it; of one that nobody needs nothing is told.
    The threads hold nobody up: a process ends while they wait, and the cache folder stands that.

    Args:
        most: how many at a time.

    >>> ahead = ReadAhead(most=2)
    >>> ahead.begin("a", lambda: 1)
    >>> ahead.finish("a"), ahead.finish("a")
    (1, None)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun: dict[Hashable, Future[Found]] = {}  # the oldest first
        self._lock = threading.Lock()

    def begin(self, what: Hashable, bring: Callable[[], Found]) -> None:
        """Have it brought, unless it is, or there are too many already."""
        begun = Future[Found]()
        try:
            with self._lock:
                if what in self._begun:
                    return
                if len(self._begun) >= self._most and not self._forget_one():
                    return
                self._begun[what] = begun
            threading.Thread(target=_carry_out, args=(bring, begun), name="datarax_mp reads ahead", daemon=True).start()
        except BaseException as error:  # whoever needs it brings it
            if self._begun.get(what) is begun:
                del self._begun[what]
            if not isinstance(error, RuntimeError) or is_interruption(error):
                raise
            log.info("nothing is read ahead, for there can be no further thread: %s", error)

    def finish(self, what: Hashable) -> Found | None:
        """Wait until it is there: what bringing it has given, or None if it was not begun.

        Raises:
            Exception: what went wrong; once, so that another attempt begins anew.
        """
        with self._lock:
            begun = self._begun.pop(what, None)
        return None if begun is None else begun.result()

    def _forget_one(self) -> bool:
        """Make room: one that is over is there by now, or whoever needs it will see for himself what is wrong."""
        over = next((what for what, begun in self._begun.items() if begun.done()), None)
        if over is None:
            return False
        del self._begun[over]
        return True


def _carry_out(bring: Callable[[], Found], begun: Future[Found]) -> None:
    try:
        found = bring()
    except BaseException as error:  # it is raised where the thing is needed
        begun.set_exception(error)
    else:
        begun.set_result(found)
