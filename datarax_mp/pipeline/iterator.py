"""One epoch as the user sees it: batches off the prefetch queue, and the position that a state is made of."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from datarax_mp.pipeline.session import Session, Work
from datarax_mp.pipeline.state import Position

if TYPE_CHECKING:
    from datarax_mp.pipeline.feed import HostBatch

Deliver = Callable[["HostBatch", Work, int], Any]


class PipelineIterator:
    """Yields the batches of one epoch. Made by ``iter(pipeline)``.

    When the source or a stage raises, the batches before the failing one are still delivered; then the exception is
    raised once, and the iterator has ended. ``get_state`` then names the failing batch as the next one.

    Args:
        session: where workers and memory come from.
        position: where to start; it is moved on as batches are received.
        deliver: makes of a host batch what the user gets.
        prefetch_size: how many batches stand ready ahead of the user.
        dump_state: makes a state of a position.
        resume: reads one, and says which session serves it.
    """

    def __init__(
        self,
        session: Session,
        position: Position,
        deliver: Deliver,
        prefetch_size: int,
        dump_state: Callable[[Position], dict[str, Any]],
        resume: Callable[[Any], tuple[Session, Position]],
    ) -> None:
        self._session, self._position, self._deliver = session, position, deliver
        self._prefetch_size = prefetch_size
        self._dump_state, self._resume = dump_state, resume
        self._ready: deque[Any] = deque()
        self._error: Exception | None = None
        self._begin()

    def _begin(self) -> None:
        self._work: Work | None = self._session.start(epoch=self._position.epoch, step=self._position.step)
        # The net under close(): an iterator that is dropped in the middle of an epoch gives back what it borrowed.
        self._net = weakref.finalize(self, Work.close, self._work)
        self._net.atexit = False

    def __iter__(self) -> PipelineIterator:
        return self

    def __next__(self) -> Any:
        if self._work is not None:
            self._fill(self._work)
        if self._ready:
            self._position.step += 1
            return self._ready.popleft()
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def _fill(self, work: Work) -> None:
        ready, feed = self._ready, work.feed
        # Without workers every batch is made right here, so the queue fills over several calls, not all in the first.
        most = self._prefetch_size + 1 if work.crew.concurrent else min(self._prefetch_size + 1, len(ready) + 2)
        try:
            while len(ready) < most and (not ready or feed.ready()):
                batch = feed.next_batch()
                if batch is None:
                    break
                ready.append(self._deliver(batch, work, self._position.epoch))
            else:
                return
        except Exception as error:  # raised when the user has come to that batch
            self._error = error
        except BaseException:  # interrupted anywhere, maybe in the middle of a message
            self._net.detach()
            self._work = None
            ready.clear()
            work.kill()
            raise
        self._end()
        if not ready and self._error is None:
            self._position.epoch, self._position.step = self._position.epoch + 1, 0

    def _end(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            self._net.detach()
            work.close()

    def close(self) -> None:
        """End the epoch here and free what it uses. Batches that were received stay valid."""
        self._ready.clear()
        self._error = None
        self._end()

    def get_state(self) -> dict[str, Any]:
        """The position as plain JSON values: the batches that were received, not those that stand ready."""
        return self._dump_state(self._position)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where a state was taken.

        Raises:
            TypeError: it is no state.
            ValueError: it belongs to another pipeline; the message names what differs.
        """
        session, position = self._resume(state)
        self.close()
        self._session = session
        self._position.epoch, self._position.step = position.epoch, position.step
        self._begin()
