"""Keeps the page of this process up to date: what ``python -m datarax_mp top`` shows.

Pipelines say how they go when they have other workers than before, and twice a second while batches are taken, in the
thread that takes them; it costs a third of a millisecond. Where the system has no memfd, nobody can look, and nothing
else is different.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from datarax_mp.core.refusals import is_refusal
from datarax_mp.monitoring.page import MOST, Page

log = logging.getLogger("datarax_mp")


class Live:
    """The page of this process and the pipelines on it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._page: Page | None = None
        self._refused = False
        self._places: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._gone: weakref.WeakKeyDictionary[Any, weakref.finalize[..., Any]] = weakref.WeakKeyDictionary()
        self._taken: set[int] = set()
        self._said: dict[int, dict[str, Any]] = {}

    def prepare(self) -> None:
        """Make the page now, which lives as long as the process."""
        with self._lock:
            self._ready()

    def tell(self, pipeline: object, described: Callable[[], dict[str, Any]]) -> memoryview[float] | None:
        """Have a pipeline say how it goes.

        Args:
            pipeline: what lives as long as it, or as one of its iterators.
            described: how it goes, as plain JSON values.

        Returns:
            Where it may write its state at any time; None if nobody can look.
        """
        if self._lock.locked():  # by another thread, or this one out of a signal handler: it comes again
            return None
        with self._lock:  # and not by ``acquire``, behind which a handler could raise
            page = self._ready()
            place = self._place(pipeline)
            if page is None or place is None:
                return None
            self._said[place] = {"place": place, **described()}
            self._write(page)
            return page.state(place)

    def forget(self, pipeline: object) -> None:
        """A pipeline is closed."""
        gone = self._gone.pop(pipeline, None)
        if gone is not None:
            gone()

    def _left(self, place: int, taken: set[int]) -> None:
        """A pipeline is not there any more; called by finalizers, too, in the middle of anything."""
        if taken is not self._taken:  # it was the parent's
            return
        taken.discard(place)
        said = self._said.pop(place, None)
        if said is not None and self._page is not None and self._page.ours() and not self._lock.locked():
            with self._lock:
                self._write(self._page)

    def _ready(self) -> Page | None:
        if self._page is not None and not self._page.ours():
            self._page = None
        if self._page is None and not self._refused:
            try:
                self._page = Page()
            except OSError as error:
                if not is_refusal(error):
                    raise
                self._refused = True
                log.debug("nobody can look at this process with `python -m datarax_mp top`: %s", error)
        return self._page

    def _place(self, pipeline: object) -> int | None:
        place = self._places.get(pipeline)
        if place is None or pipeline not in self._gone:
            place = next((number for number in range(MOST) if number not in self._taken), None)
            if place is not None:
                self._taken.add(place)
                self._places[pipeline] = place
                self._gone[pipeline] = weakref.finalize(pipeline, self._left, place, self._taken)
                self._gone[pipeline].atexit = False
        return place

    def _write(self, page: Page) -> None:
        page.write({"command": sys.argv[:1], "pid": os.getpid(), "pipelines": list(self._said.values())})


live = Live()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=live._begin)
