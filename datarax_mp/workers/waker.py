"""A way for one thread to wake another that waits for worker processes."""

from __future__ import annotations

import os
import threading


class Waker:
    """A descriptor to wait on together with others; any thread may make it readable, once and for good."""

    _read = _write = -1  # what __del__ finds if an interrupt comes before the descriptors

    def __init__(self) -> None:
        # Nobody may write to a descriptor that has been closed and given out anew. A signal handler comes in again.
        self._lock = threading.RLock()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._read

    def wake(self) -> None:
        """Make it readable; after ``close`` this does nothing."""
        with self._lock:
            if self._write >= 0:
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
            os.close(descriptor)

    def __del__(self) -> None:
        self._close()
