"""The file of a ledger while a pipeline writes to it."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Sequence

from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.spec import Layout
from datarax_mp.ledger.entries import TORN, Begin, Entry
from datarax_mp.order import Order

try:
    import fcntl
except ImportError:  # no POSIX: then nothing keeps two pipelines from one file
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("datarax_mp")


class Ledger:
    """Appends lines to a file that belongs to one pipeline; see the package.

    Lines go out in one ``write`` to a file opened for appending, so that neither threads nor signal handlers, in the
    middle of one, need a lock.

    The file is this pipeline's from the first iterator on until it is closed: whoever only looks at a batch, in another
    process say, leaves it alone.

    Args:
        path: the file; one that is there is gone on with.
        records: how many the pipeline's source has.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], records: int) -> None:
        self._path, self._records = os.fspath(path), records
        self._file = open(self._path, "a+b", buffering=0)  # noqa: SIM115
        self._net = weakref.finalize(self, self._file.close)
        self._process, self._torn = os.getpid(), False

    def _lock(self) -> None:
        """Have the file alone; again and again, which changes nothing."""
        if self._process != os.getpid():
            raise ValueError(
                f"ledger={self._path!r}: process {self._process} writes to this file, and this one was forked from it. "
                "Make a pipeline with a ledger of its own here"
            )
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"ledger={self._path!r}: another pipeline writes to this file, in this process or in another one. "
                "Give each pipeline a file of its own (with several hosts each host), or close() the other one first"
            ) from None
        except OSError as error:  # a file system without locks
            if not is_refusal(error):
                raise
            log.warning("ledger %s: cannot be locked, so nothing keeps other pipelines from it: %s", self._path, error)

    def begin(self, order: Order, epoch: int, step: int, layout: Layout) -> None:
        """An iterator begins at a step: lines there are for it and for what comes later are void.

        Raises:
            ValueError: another pipeline writes to the file.
            OSError: the line cannot be written.
        """
        self._lock()
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            self._torn |= self._file.read(1) != b"\n"
        self._append(Begin.of(order, epoch, step, layout, self._records).line())

    def enter(self, entries: Sequence[Entry]) -> None:
        """The user is about to receive a batch, or several in one array.

        Raises:
            OSError: a line cannot be written.
        """
        self._append(b"".join(entry.line() for entry in entries))

    def take_back(self, entries: Sequence[Entry]) -> None:
        """The user has not received them, whether they were entered or not; may be said more than once."""
        self._append(b"".join(entry.taken_back() for entry in entries))

    def _append(self, lines: bytes) -> None:
        if self._file.closed:  # by another thread, which has ended the stream with it
            return
        if self._torn:
            lines = TORN + lines
        self._torn = True
        written = self._file.write(lines)
        if written != len(lines):
            raise OSError(f"ledger {self._path}: {written} of {len(lines)} bytes could be written; the disk is full")
        self._torn = False

    def close(self) -> None:
        """Let go of the file; another pipeline may go on with it."""
        self._net()
