"""One epoch as the user sees it: batches off the prefetch queue, and the position that a state is made of."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datarax_mp.core.tracebacks import for_user
from datarax_mp.pipeline.session import Session, Work
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.workers.crew import Closed
from datarax_mp.workers.waker import Waker

if TYPE_CHECKING:
    from datarax_mp.pipeline.feed import HostBatch

log = logging.getLogger("datarax_mp")

_alive: weakref.WeakSet[PipelineIterator] = weakref.WeakSet()

CLOSE_SECONDS = 2.0
_LOGGED_SKIPS = 10  # records of one epoch that are logged singly; a damaged data set must not flood the log


@dataclass(slots=True)
class _Ready:
    """A step that stands ready.

    Attributes:
        step: the step.
        item: what the user gets.
        empty: whether all of the step's records were skipped, so that the user gets nothing.
        skipped: how many records were skipped in it.
    """

    step: int
    item: Any
    empty: bool
    skipped: int


def _introduce_to_grain() -> None:
    """Make ours a ``DatasetIterator``, for Grain's checkpointing asks; a program without Grain needs no answer."""
    theirs = getattr(sys.modules.get("grain"), "DatasetIterator", None)
    if theirs is not None:
        theirs.register(PipelineIterator)


class PipelineIterator:
    """Yields the batches of one epoch. Made by ``iter(pipeline)``.

    When the source or a stage raises, the batches before the failing one are still delivered; then the exception is
    raised once, and the iterator has ended: ``next`` raises StopIteration, and ``get_state`` names the failing batch as
    the next one. The same holds after a WorkerError, and after an interrupt (KeyboardInterrupt) inside ``next``, which
    also drops what stood ready. The pipeline can be iterated again in each case.

    Any thread may call any method; ``next`` is served to one thread at a time.

    If Grain is imported when the epoch begins, this is a ``grain.DatasetIterator`` to ``isinstance``, so that tools for
    those take it: it has the same ``get_state``, ``set_state``, ``start_prefetch`` and ``close``.

    Args:
        session: where workers and memory come from.
        cursor: where to start; it is moved on as batches are received.
        prefetch_size: how many batches stand ready ahead of the user.
        dump_state: makes a state of a position.
        resume: reads one, and says which session serves it.
        count_skips: told how many records were skipped whenever the user has received the batch they are missing from.
    """

    def __init__(
        self,
        session: Session,
        cursor: Cursor,
        prefetch_size: int,
        dump_state: Callable[[Position], dict[str, Any]],
        resume: Callable[[Any, bool], tuple[Session, Position]],
        count_skips: Callable[[int], None],
    ) -> None:
        self._session, self._cursor = session, cursor
        self._prefetch_size = prefetch_size
        self._dump_state, self._resume, self._count_skips = dump_state, resume, count_skips
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._holder: int | None = None  # the thread that is inside
        self._waker: Waker | None = None
        self._closing = self._closed = False
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._order, self._epoch, _ = self._cursor.at
        self._ready: deque[_Ready] = deque()
        self._error: Exception | None = None
        self._work: Work | None = None
        self._exhausted = False
        self._skips_logged = 0

    def start_prefetch(self) -> None:
        """Begin to work ahead, as the first ``next`` would otherwise; without workers, make the first batches.

        So an iterator that is set up early, say before a model is restored, has its first batches when that is done.
        It may be called at any time, and does not wait for workers. A loop that waits for each step calls it between
        starting the step and waiting for it: then the next batch is moved to the device while that works, and ``next``
        only hands it over (``scripts/benchmark.py --au --prefetch``).

        >>> from datarax_mp import Pipeline
        >>> iterator = iter(Pipeline(source={"x": [1.0, 2.0, 3.0]}, batch_size=2))
        >>> for batch in iterator:
        ...     total = batch["x"].sum()  # a training step: it is only started here
        ...     iterator.start_prefetch()
        ...     print(float(total))  # and waited for here
        3.0
        3.0
        """
        with self._inside():
            if self._work is not None:
                self._fill(self._work, wait=False)

    def begin(self) -> None:
        """Start to work on the epoch. What goes wrong with the first record is raised here."""
        with self._inside():
            self._begin()

    def _begin(self) -> None:
        _introduce_to_grain()
        waker = self._waker = Waker()
        try:
            if self._closing:  # asked when the waker is there, so that a ``close`` in between is not missed
                raise Closed
            self._work = self._session.start(epoch=self._epoch, step=self._cursor.at.step, waker=waker)
        except Closed:
            raise RuntimeError("the iterator is closed") from None
        # The net under close(): an iterator that is dropped in the middle of an epoch gives back what it borrowed.
        self._net = weakref.finalize(self, Work.close, self._work)
        self._net.atexit = False

    def __iter__(self) -> PipelineIterator:
        return self

    def __next__(self) -> Any:
        if self._closing:
            raise StopIteration
        self._check_process()
        with self._lock:  # as in ``_inside``, which would cost as much as all the rest
            self._holder = threading.get_ident()
            try:
                return self._next()
            finally:
                self._leave()

    def _next(self) -> Any:
        while True:
            if self._work is not None:
                self._fill(self._work)
            if not self._ready or self._closing:
                break
            ready = self._ready.popleft()
            item = ready.item if self._session.hand_over is None else self._handed_over(ready.item)
            self._cursor.at = Position(self._order, self._epoch, ready.step + 1)
            if ready.skipped:
                self._count_skips(ready.skipped)
            if not ready.empty:
                return item
        error, self._error = self._error, None
        if error is not None and not self._closing:
            try:
                raise for_user(error)
            finally:
                del error  # this frame is in its traceback: a cycle
        if self._exhausted and not self._closing:
            self._exhausted = False
            self._cursor.at = Position(self._order, self._epoch + 1, 0)
        raise StopIteration

    def _handed_over(self, item: Any) -> Any:
        """Do what had to wait for this moment; if it fails, the iterator has ended, as it does with other errors."""
        assert self._session.hand_over is not None
        try:
            return self._session.hand_over(item)
        except BaseException:
            self._end()
            raise

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Let one thread in at a time."""
        self._check_process()
        with self._lock:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._leave()

    def _leave(self) -> None:
        """On the way out, do what ``close`` could not do meanwhile."""
        self._holder = None
        if self._closing:
            self._end()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError(
                f"this iterator belongs to process {self._process}, and process {os.getpid()} was forked from it; "
                "iterate the pipeline anew in the forked process"
            )

    def _fill(self, work: Work, *, wait: bool = True) -> None:
        ready, feed = self._ready, work.feed
        # Without workers every batch is made right here, so the queue fills over several calls, not all in the first.
        most = self._prefetch_size + 1 if work.crew.concurrent else min(self._prefetch_size + 1, len(ready) + 2)
        try:
            while len(ready) < most and ((wait and not ready) or feed.ready()):
                if not self._make_ready(work):
                    break
            else:
                return
        except Closed:
            return  # whoever closes asks no more of it, and ``_inside`` ends the work
        except Exception as error:  # raised when the user has come to that batch
            self._error = error
        except BaseException:  # interrupted anywhere, maybe in the middle of a message
            self._net.detach()
            self._work = None
            ready.clear()
            work.kill()
            self._close_waker()
            raise
        self._end_work()

    def _make_ready(self, work: Work) -> bool:
        """Take the next step from the feed; False at the end of the epoch."""
        batch = work.feed.next_batch()
        if batch is None:
            self._exhausted = True
            return False
        if batch.skips:
            self._log_skips(batch)
        # A batch without any record is left out, unless it is padded to the size of the others.
        empty = batch.group is None and len(batch.arrays[0]) == 0
        item = None if empty else self._session.deliver(batch, work, self._epoch)
        self._ready.append(_Ready(batch.step, item, empty, len(batch.skips)))
        return True

    def _log_skips(self, batch: HostBatch) -> None:
        epoch = self._epoch
        for skip in batch.skips[: max(0, _LOGGED_SKIPS - self._skips_logged)]:
            log.warning("record %d is skipped (step %d of epoch %d): %s", skip.record, batch.step, epoch, skip.reason)
        before, self._skips_logged = self._skips_logged, self._skips_logged + len(batch.skips)
        if before <= _LOGGED_SKIPS < self._skips_logged:
            log.warning("more records of epoch %d are skipped; Pipeline.skipped counts them", epoch)

    def _end_work(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            self._net.detach()
            work.close()
        self._close_waker()

    def _close_waker(self) -> None:
        if self._waker is not None:
            self._waker.close()

    def _end(self) -> None:
        self._ready.clear()
        self._error = None
        self._exhausted = False
        self._end_work()
        self._closed = self._closing

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the epoch here and free what it uses. Batches that were received stay valid.

        If another thread waits in ``next``, it gets StopIteration there.

        Args:
            timeout: seconds to wait for another thread to come out of ``next``; if it is stuck in a computation, it
                frees everything when it comes out.
        """
        if self._closed:  # asked first: a generator may call this when the interpreter has taken ``os`` apart
            return
        if self._process != os.getpid():
            return  # it is the parent's
        self._closing = True
        if self._waker is not None:
            self._waker.wake()
        if self._lock.locked() and self._holder == threading.get_ident():
            return  # called by the user's code inside ``next``, or by a signal handler there
        if self._lock.acquire(timeout=timeout):
            try:
                self._end()
            finally:
                self._lock.release()

    def get_state(self) -> dict[str, Any]:
        """The position as plain JSON values: the batches that were received, not those that stand ready.

        Any thread may ask: a batch counts from the moment at which ``next`` hands it over.
        """
        return self._dump_state(self._cursor.at)

    def set_state(self, state: dict[str, Any], *, elastic: bool = False) -> None:
        """Go on from where a state was taken; ``elastic`` as in ``Pipeline.set_state``.

        Raises:
            TypeError: it is no state.
            ValueError: it belongs to another pipeline; the message names what differs.
        """
        with self._inside():
            session, position = self._resume(state, elastic)
            self._end()
            self._session, self._cursor.at = session, position
            self._reset()
            self._begin()


@atexit.register
def _close_all() -> None:
    """What a program leaves open is closed while everything that closing needs is still there."""
    for iterator in list(_alive):
        iterator.close(timeout=0)
