"""Where a process says how its pipelines go, for whoever looks from outside: one piece of memory, without a name.

    | header: cells, int64 | per pipeline: its state, float64 | one text as JSON | the other one |

The memory is a memfd, so that it lives exactly as long as a process has it open, and no kill leaves anything behind;
what it is called shows behind ``/proc/PID/fd``, where the same user may open it. Nobody else can.

One process writes, any number read. A text is written where the one before the last stood, and counts when the header
says so: a writer that is killed, or stops, in the middle of one leaves the last whole one.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

from datarax_mp.core.descriptors import Identity, above_standard, close_known, identity, standard_occupied
from datarax_mp.ring.names import start_time

NAME = "datarax_mp-live"
VERSION = 1
_MAGIC = 0x6461746172617831
_CELLS = 8
_MAGIC_CELL, _VERSION, _PID, _STARTED, _WHICH, _LENGTHS = 0, 1, 2, 3, 4, 5  # two lengths
_STATES = 512  # where those begin
_STATE = 4 * 8
MOST = 32  # pipelines
_TEXTS = 4096
_ROOM = 128 * 1024
SIZE = _TEXTS + 2 * _ROOM


class Page:
    """The page of this process.

    Raises:
        OSError: the system has no memfd, or none to give.
    """

    _fd = -1  # what __del__ finds if there is none

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError(errno.ENOSYS, "no memfd_create")
        self._known: Identity = None
        self._fd = above_standard(os.memfd_create(NAME, os.MFD_CLOEXEC))  # whatever follows, ``__del__`` closes it
        self._known = identity(self._fd)
        os.fchmod(self._fd, 0o600)
        os.ftruncate(self._fd, SIZE)
        with standard_occupied():  # a mapping has a copy of the descriptor
            self._memory = mmap.mmap(self._fd, SIZE)
        self._cells = memoryview(self._memory)[: 8 * _CELLS].cast("q")
        self.pid = os.getpid()
        self._cells[_PID], self._cells[_STARTED] = self.pid, int(start_time(self.pid) or 0)
        self._cells[_VERSION], self._cells[_MAGIC_CELL] = VERSION, _MAGIC

    def ours(self) -> bool:
        """Whether it is this process's, and others can find it: no fork, and no code that closes all descriptors."""
        return self.pid == os.getpid() and identity(self._fd) == self._known

    def state(self, place: int) -> memoryview[float]:
        """Where a pipeline may write at any time; see ``feed.timings.Timings``."""
        start = _STATES + _STATE * place
        return memoryview(self._memory)[start : start + _STATE].cast("d")

    def write(self, content: dict[str, Any]) -> None:
        """Say something else from now on; too much is not said."""
        text = json.dumps(content).encode()
        if len(text) > _ROOM:
            return
        which = 1 - self._cells[_WHICH]
        start = _TEXTS + which * _ROOM
        self._memory[start : start + len(text)] = text
        self._cells[_LENGTHS + which] = len(text)
        self._cells[_WHICH] = which

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if self._fd >= 0 and not _ending():  # then the system closes it, and half of what this calls may be gone
            close_known(self._fd, self._known)


class PageView:
    """The page of another process.

    Args:
        fd: its descriptor, which is closed.

    Attributes:
        pid: the process, as it calls itself.
        started: when it began, as ``/proc/PID/stat`` says it; empty if it does not know.

    Raises:
        ValueError: it is none, or one of another version of this package.
    """

    def __init__(self, fd: int) -> None:
        try:
            if os.fstat(fd).st_size < SIZE:
                raise ValueError("no page")
            self._memory = mmap.mmap(fd, SIZE, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        self._cells = memoryview(self._memory)[: 8 * _CELLS].cast("q")
        if self._cells[_MAGIC_CELL] != _MAGIC or self._cells[_VERSION] != VERSION:
            raise ValueError("no page of this version")
        self.pid = self._cells[_PID]
        self.started = str(self._cells[_STARTED] or "")

    def read(self) -> dict[str, Any]:
        """What it says; nothing if it has not said anything yet."""
        for _ in range(3):
            which = self._cells[_WHICH]
            start = _TEXTS + which * _ROOM
            text = self._memory[start : start + self._cells[_LENGTHS + which]]
            if which == self._cells[_WHICH]:
                break
        return json.loads(text) if text else {}

    def state(self, place: int) -> tuple[float, float, int]:
        """Since when a pipeline waits and since when its caller is away, by ``time.perf_counter``, and its batches."""
        start = _STATES + _STATE * place
        since, away, batches, _ = memoryview(self._memory)[start : start + _STATE].cast("d")
        return since, away, int(batches)
