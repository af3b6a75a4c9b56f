"""A way for one thread to wake another that waits for worker processes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from datarax_mp.core.descriptors import Identity, close_known, identity, pipe
from datarax_mp.core.refusals import in_words
from datarax_mp.core.undisturbed import undisturbed


class Waker:
    """A descriptor to wait on together with others; any thread may make it readable, once and for good.

    Attributes:
        woken: whether one has.
    """

    _read = _write = -1  # what __del__ finds if an interrupt comes before the descriptors
    _known: Identity = None
    woken = False

    def __init__(self) -> None:
        # Nobody may write to a descriptor that has been closed and given out anew. A signal handler comes in again.
        self._lock = threading.RLock()
        failure = undisturbed(self._open)  # or the descriptors would be nobody's for a moment
        if isinstance(failure, OSError):
            raise OSError(failure.errno, in_words(failure)) from failure
        if failure is not None:
            raise failure

    def _open(self) -> None:
        self._read, self._write = pipe()
        self._known = identity(self._read)  # both ends have the same
        if hasattr(os, "set_blocking"):  # Windows has not, before Python 3.12; a pipe is full after 4,096 calls
            os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._read

    def wake(self) -> None:
        """Make it readable; after ``close`` this does nothing."""
        with self._lock:
            self.woken = True
            if self._write >= 0 and identity(self._write) == self._known:
                try:
                    os.write(self._write, b"w")
                except BlockingIOError:
                    pass  # full of what earlier calls have written

    def close(self) -> None:
        """Give the descriptors back. Calling it again does nothing."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        while self._read >= 0:
            descriptor, self._read, self._write = self._read, self._write, -1
            close_known(descriptor, self._known)

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _ending():  # then the system frees it, and half of what this calls may be gone
            self._close()
