"""A way for one thread to wake another that waits for worker processes."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable

from datarax_mp.core.descriptors import Identity, close_known, identity, pipe
from datarax_mp.core.refusals import in_words
from datarax_mp.core.undisturbed import undisturbed

_MOST_SPARE = 4  # epochs that end one inside the other
_CAN_LOOK = hasattr(os, "set_blocking")  # Windows has not, before Python 3.12
_ALL = 1 << 16  # bytes


class _Pipe:
    """Owner of a pipe's two ends, which are closed when nobody has it any more."""

    _read = _write = -1  # what __del__ finds if an interrupt comes before the descriptors
    _known: Identity = None

    def __init__(self) -> None:
        self._process = os.getpid()
        failure = undisturbed(self._open)  # or the descriptors would be nobody's for a moment
        if isinstance(failure, OSError):
            raise OSError(failure.errno, in_words(failure)) from failure
        if failure is not None:
            raise failure

    def _open(self) -> None:
        self._read, self._write = pipe()
        self._known = identity(self._read)  # both ends have the same
        if _CAN_LOOK:  # a pipe is full after 4,096 calls
            os.set_blocking(self._write, False)
            os.set_blocking(self._read, False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._read

    def intact(self) -> bool:
        """Whether it is this process's, and nobody has closed its ends."""
        ours = self._process == os.getpid() and self._known is not None
        return ours and identity(self._read) == identity(self._write) == self._known

    def empty(self) -> bool:
        """Take out what has been written; False if that cannot be done."""
        while _CAN_LOOK:
            try:
                os.read(self._read, _ALL)
            except BlockingIOError:
                return True
        return False

    def write(self) -> None:
        """Make it readable."""
        if identity(self._write) == self._known:
            try:
                os.write(self._write, b"w")
            except BlockingIOError:
                pass  # full of what earlier calls have written

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if _ending():  # then the system frees it, and half of what this calls may be gone
            return
        while self._read >= 0:
            descriptor, self._read, self._write = self._read, self._write, -1
            close_known(descriptor, self._known)


_spare: deque[_Pipe] = deque(maxlen=_MOST_SPARE)  # of earlier wakers: to make one takes as long as all else of an epoch


class Waker:
    """A descriptor to wait on together with others; any thread may make it readable, once and for good.

    Attributes:
        woken: whether one has.
        ring: called when one does, for who waits for something else than descriptors; in whatever thread that is.
    """

    woken = False
    ring: Callable[[], object] | None = None

    def __init__(self) -> None:
        # Nobody may write to a descriptor that has been closed and given out anew. A signal handler comes in again.
        self._lock = threading.RLock()
        self._waking = 0
        self._pipe: _Pipe | None = _take() or _Pipe()

    def fileno(self) -> int:
        """The descriptor to wait on; -1 after ``close``."""
        pipe = self._pipe
        return -1 if pipe is None else pipe.fileno()

    def wake(self) -> None:
        """Make it readable; after ``close`` this does nothing."""
        with self._lock:
            self.woken = True
            self._waking += 1
            if self._pipe is not None:
                self._pipe.write()
            if self.ring is not None:
                self.ring()
            self._waking -= 1

    def close(self) -> None:
        """Give the descriptors back. Calling it again does nothing."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
            # Not one that ``wake`` is at: a signal handler may have come into that, or an exception have ended it.
            if pipe is not None and not self._waking and pipe.intact() and (not self.woken or pipe.empty()):
                _spare.append(pipe)


def _take() -> _Pipe | None:
    while _spare:
        try:
            pipe = _spare.pop()
        except IndexError:  # another thread was quicker
            break
        if pipe.intact():
            return pipe
    return None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_spare.clear)
