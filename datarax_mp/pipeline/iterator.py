"""One epoch as the user sees it: batches off the prefetch queue, and the position that a state is made of."""

from __future__ import annotations

import logging
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Self

from datarax_mp.core.errors import ENDS, WorkerError, no_end
from datarax_mp.core.exits import Turn, at_exit
from datarax_mp.core.owned import Owned
from datarax_mp.core.strays import claimed
from datarax_mp.core.tracebacks import for_user
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Closed
from datarax_mp.feed.chunks import Chunks
from datarax_mp.feed.lending import Failure
from datarax_mp.ledger.book import Ledger
from datarax_mp.ledger.entries import Entry
from datarax_mp.order.reach import Reach
from datarax_mp.pipeline.barren import Barren, last_reason, no_next_batch
from datarax_mp.pipeline.clocked import Clocked
from datarax_mp.pipeline.here_alone import HereAlone
from datarax_mp.pipeline.ready import Ready
from datarax_mp.pipeline.session import Resumed, Session, Work
from datarax_mp.pipeline.skips import Skips, Told
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.pipeline.torch_names import TorchNames
from datarax_mp.pipeline.yields import Yielded
from datarax_mp.ring import Ring

log = logging.getLogger("datarax_mp")

_alive: weakref.WeakSet[PipelineIterator[Any]] = weakref.WeakSet()

CLOSE_SECONDS = 2.0
ONE_EPOCH = Reach()

_END = object()


def _introduce_to_grain() -> None:
    """Make ours a ``DatasetIterator``, for Grain's checkpointing asks; a program without Grain needs no answer."""
    theirs = getattr(sys.modules.get("grain"), "DatasetIterator", None)
    if theirs is not None:
        theirs.register(PipelineIterator)


class PipelineIterator(HereAlone, TorchNames, Generic[Yielded]):
    """Yields the batches of an epoch, or of ``num_epochs``. Made by ``iter(pipeline)``.

    When the source or a stage raises, the batches before the failing one are still delivered; then the exception is
    raised once, and the iterator has ended: ``next`` raises StopIteration, and ``get_state`` names the failing batch as
    the next one. The same holds after a WorkerError. The pipeline can be iterated again in each case. A StopIteration
    of theirs is a RuntimeError. With ``num_epochs=None``, an epoch of which all records are skipped is a ValueError.

    An exception that comes from elsewhere into ``next`` (Ctrl-C, or whatever a signal handler raises: a time limit, a
    request to stop) leaves it at once and unchanged. The iterator has ended then, too, what stood ready is dropped, and
    ``get_state`` names the first batch that the caller has not received.

    Any thread may call any method, and so may signal handlers and finalizers, in the middle of anything. ``next`` is
    served to one thread at a time; called by a handler in the middle of the same iterator's ``next`` it is a
    RuntimeError, and ``close`` is done when that ``next`` is through.

    If Grain is imported when the epoch begins, this is a ``grain.DatasetIterator`` to ``isinstance``, so that tools for
    those take it: it has the same ``get_state``, ``set_state``, ``start_prefetch`` and ``close``.

    Args:
        session: where workers and memory come from.
        cursor: where to start; it is moved on as batches are received.
        prefetch_size: how many batches stand ready ahead of the user.
        dump_state: makes a state of a position.
        resume: reads one, for the iterator with a cursor and a reach, and says how that goes on.
        skips: told of skipped records when the user gets the batch that lacks them; None if nobody is to know.
        reach: how far it goes.
        chunks: which of them come together, or None.
        ledger: told of batches when the user gets them, or None.
    """

    def __init__(
        self,
        session: Session,
        cursor: Cursor,
        prefetch_size: int,
        dump_state: Callable[[Position], dict[str, Any]],
        resume: Callable[[Any, bool, Cursor, Reach], Resumed],
        skips: Skips | None,
        *,
        reach: Reach = ONE_EPOCH,
        chunks: Chunks | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._session, self._cursor, self._ledger = session, cursor, ledger
        self._prefetch_size, self._reach, self._chunks = prefetch_size, reach, chunks
        self._dump_state, self._resume, self._skips = dump_state, resume, skips
        self._owned = Owned("iterator", "iterate the pipeline anew in the forked process")
        self._waker: Waker | None = None
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._order, self._epoch, _ = self._cursor.at
        self._ready: deque[Ready] = deque()
        self._error: BaseException | None = None  # to be raised when the caller has received what stands ready
        self._work: Work | None = None
        self._ending: Work | None = None  # what was worked with, until it is closed
        self._exhausted = False
        self._taken = 0
        self._clocked = Clocked(self._session.timings)

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._owned.closing or (self._work is None and not self._ready and not self._exhausted)

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
        if not self._owned.inside():  # by a handler in the middle of ``next``
            self._do(self._prefetch)

    def _prefetch(self) -> None:
        if self._work is not None:
            self._fill(self._work, wait=False)

    def begin(self) -> None:
        """Start to work on the epoch. What goes wrong with the first record is raised here."""
        self._do(self._begin)

    def _begin(self) -> None:
        _introduce_to_grain()
        waker = self._waker = Waker()
        try:
            if self._owned.closing:  # asked when the waker is there, so that a ``close`` in between is not missed
                raise Closed
            work = self._session.start(at=self._cursor.at, reach=self._reach, chunks=self._chunks, waker=waker)
        except Closed:
            raise RuntimeError("the iterator is closed") from None
        # The net under close(): an iterator that is dropped in the middle of an epoch gives back what it borrowed.
        self._net = weakref.finalize(self, Work.close, work)
        self._net.atexit = False
        self._work = work
        if self._ledger is not None:
            self._ledger.begin(*self._cursor.at, self._session.layout)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Yielded:
        owned = self._owned
        if owned.closing:
            raise StopIteration
        if owned.holder is not None or owned.foreign:
            owned.check()
        if self._clocked.away:
            self._clocked.back()
        turn: list[Position] = []
        told: Told = ()
        entries: tuple[Entry, ...] = ()
        try:
            item, after, told, entries = owned.do(self._next, self._end, turn)
            if entries and self._ledger is not None:
                self._ledger.enter(entries)
            if told and self._skips is not None:
                self._skips.received(told)
            # The very last thing: no signal handler comes between this and the caller, so that a state taken in one
            # never counts a batch that the caller has not received.
            if self._cursor.at is turn[0] or _is_later(after, self._cursor.at):
                self._cursor.at = after
            if item is not _END:
                return item
        except BaseException as raised:
            if turn:  # otherwise another thread has it, and is not disturbed
                self._interrupted(turn[0], told, entries)
            if isinstance(raised, ENDS):  # of ``on_skip``, say; that this is the end is said below, and nowhere else
                raise no_end(raised) from raised
            raise
        error, self._error = self._error, None
        if error is not None and not owned.closing:
            try:
                raise for_user(no_end(error))
            finally:
                del error  # this frame is in its traceback: a cycle
        raise StopIteration

    def _next(self, turn: list[Position]) -> tuple[Any, Position, Told, tuple[Entry, ...]]:
        """What the caller gets, or ``_END``; the position after it; what was skipped on the way; what is entered.

        Args:
            turn: gets the position before it, when it is the caller's turn.
        """
        after = self._cursor.at
        turn.append(after)
        skipped: Told = ()
        barren: Barren | None = None
        while True:
            if self._work is not None:
                self._fill(self._work)
            if not self._ready or self._owned.closing:
                break
            ready = self._ready.popleft()
            after = ready.after
            if ready.told:
                skipped += ready.told
            if not ready.empty:
                hand_over = ready.hand_over
                return ready.item if hand_over is None else hand_over(ready.item), after, skipped, ready.entries
            if self._reach.epochs is None:
                barren = Barren(turn[0]) if barren is None else barren
                if barren.over(after):
                    self._ready.clear()
                    self._end_work()
                    self._error = no_next_batch(barren.epoch, last_reason(skipped))
                    break
        if self._exhausted and not self._owned.closing:
            self._exhausted = False
            end = self._reach.end(self._epoch)
            after = Position(self._order, after.epoch + 1 if end is None else end, 0)
        return _END, after, skipped, ()

    def _do(self, work: Callable[[], None]) -> None:
        self._owned.check()
        turn: list[Position] = []

        def in_turn() -> None:
            turn.append(self._cursor.at)
            work()

        try:
            self._owned.do(in_turn, self._end)
        except BaseException as raised:
            if turn:  # as above
                self._interrupted(turn[0])
            if isinstance(raised, ENDS):  # an iterator may have called ``iter``: ``itertools.chain.from_iterable``
                raise no_end(raised) from raised
            raise

    def _interrupted(self, before: Position, told: Told = (), entries: tuple[Entry, ...] = ()) -> None:
        """End here, after an exception that has come from elsewhere at any line since the position was ``before``.

        What was ``told`` and entered of the batch that the caller does not get is taken back: it comes again.
        """

        def end(whole: bool) -> None:
            self._cursor.at = before
            if told and self._skips is not None:
                self._skips.take_back(told)
            self._end(whole)
            if entries and self._ledger is not None:
                self._ledger.take_back(entries)

        self._owned.break_off(end)

    def _fill(self, work: Work, *, wait: bool = True) -> None:
        ready, feed = self._ready, work.feed
        # Without workers every batch is made right here, so the queue fills over several calls, not all in the first.
        most = self._prefetch_size + 1
        if not work.crew.abilities.concurrent:
            most = min(most, len(ready) + 2)
        work.whole = False
        try:
            while len(ready) < most and ((wait and not ready) or feed.ready()):
                if not self._make_ready(work):
                    break
            else:
                work.whole = True
                return
        except Closed:  # before anything was read
            work.whole = True
            return  # whoever closes asks no more of it, and the work is ended on the way out
        except WorkerError as error:
            self._error = error
        work.whole = True
        self._end_work()

    def _make_ready(self, work: Work) -> bool:
        """Take the next step from the feed; False if there is none, because of the epoch's end or of an error."""
        batch = work.feed.next_batch()
        if batch is None:
            self._exhausted = True
            return False
        if isinstance(batch, Failure):
            self._error = batch.error
            return False
        # A batch without any record is left out, unless it is padded to the size of the others.
        empty = batch.size == 0
        self._taken += 1
        bound = work.bound if self._taken % self._clocked.every else self._clocked.around(work.bound)
        try:
            item = None if empty else bound.take(batch)
        except Exception as error:
            if not claimed(error):
                raise
            self._error = error
            return False
        entries: tuple[Entry, ...] = ()
        if self._ledger is not None:
            entries = tuple(Entry.of(part.epoch, part.step, part.rows, part.digest) for part in batch.parts)
        hand_over = bound.hand_over
        after = Position(batch.epoch.order, batch.epoch.number, batch.after)
        self._ready.append(Ready(after, item, empty, batch.told, hand_over, entries))
        return True

    def _end_work(self) -> None:
        if self._work is not None:
            self._ending, self._work = self._work, None
        if self._ending is not None:
            self._ending.close()
            self._ending = None  # not before: what comes into the middle of closing is answered with ending it again
            self._net.detach()
        self._close_waker()

    def _close_waker(self) -> None:
        if self._waker is not None:
            self._waker.close()

    def _end(self, whole: bool) -> None:
        if self._work is not None and not whole:
            self._work.whole = False
        self._ready.clear()
        self._error = None
        self._exhausted = False
        self._end_work()

    def time_all(self) -> None:
        """Time every batch from now on, for as long as somebody wants that."""
        self._clocked.every = 1

    @property
    def ring(self) -> Ring | None:
        """Where it works just now; any thread may ask."""
        return None if (work := self._work) is None else work.ring

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the epoch here and free what it uses. Batches that were received stay valid.

        If another thread waits in ``next``, it gets StopIteration there.

        Args:
            timeout: seconds to wait for another thread to come out of ``next``; if it is stuck in a computation, it
                frees everything when it comes out.
        """
        self._owned.close(self._wake, self._end, timeout)

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()

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
        session, position, reach = self._resume(state, elastic, self._cursor, self._reach)

        def begin_anew() -> None:
            self._end(True)
            self._session, self._cursor.at, self._reach = session, position, reach
            self._reset()
            self._begin()

        self._do(begin_anew)


def _is_later(one: Position, other: Position) -> bool:
    """Whether another thread has not got further meanwhile."""
    return (one.order is other.order or one.order == other.order) and one[1:] > other[1:]


@at_exit(Turn.ITERATORS)
def _close_all() -> None:
    """What a program leaves open is closed while everything that closing needs is still there."""
    for iterator in list(_alive):
        iterator.close(timeout=0)
