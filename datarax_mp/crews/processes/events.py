"""What a crew waits for: answers and ends of its workers, what they log, and another thread that wants it to stop."""

from __future__ import annotations

import select
from collections.abc import Sequence

from datarax_mp.core.errors import WorkerError
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Closed
from datarax_mp.crews.processes.logs import Inbox
from datarax_mp.crews.processes.worker import Worker


class Events:
    """The descriptors of one crew.

    Args:
        waker: readable when another thread wants this one to stop waiting.
        inbox: where workers' log lines come.
    """

    def __init__(self, waker: Waker, inbox: Inbox) -> None:
        self._waker, self._inbox = waker, inbox
        self._poll = select.poll()
        self._poll.register(waker.fileno(), select.POLLIN)
        self._poll.register(inbox.fileno(), select.POLLIN)
        self._by_descriptor: dict[int, Worker] = {}

    def watch(self, worker: Worker) -> None:
        """Wait for a worker's answers and its end, too."""
        for descriptor in (worker.channel.fileno(), worker.sentinel):
            if descriptor >= 0:
                self._by_descriptor[descriptor] = worker
                self._poll.register(descriptor, select.POLLIN)

    def forget(self, worker: Worker) -> None:
        """Wait for it no more."""
        for descriptor in (worker.channel.fileno(), worker.sentinel):
            if self._by_descriptor.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[tuple[Worker, int]]:
        """Wait for something to happen, and show what was logged.

        Args:
            seconds: how long; None is without a limit.

        Returns:
            Workers, each with that of its descriptors that is readable: its channel's, or its sentinel.

        Raises:
            Closed: another thread wants that.
            WorkerError: other code has closed these descriptors.
        """
        # Resolved before anything is done: a replacement may get a dead worker's descriptor numbers.
        ready = [descriptor for descriptor, _ in self._poll.poll(None if seconds is None else seconds * 1000)]
        if self._waker.fileno() in ready:
            if not self._waker.woken:
                raise WorkerError(
                    "descriptors of this pipeline have been closed by other code in this process (os.closerange, say); "
                    "start the epoch anew, or make the pipeline after that code has run"
                )
            raise Closed
        self._read_logs(ready)
        return [
            (self._by_descriptor[descriptor], descriptor) for descriptor in ready if descriptor in self._by_descriptor
        ]

    def _read_logs(self, ready: Sequence[int]) -> None:
        """Before the answers, so that what was logged while a batch was made comes before the batch."""
        if self._inbox.fileno() in ready:
            if self._inbox.intact():
                self._inbox.empty()
            else:  # other code has closed it: the next epoch makes another
                self._poll.unregister(self._inbox.fileno())
