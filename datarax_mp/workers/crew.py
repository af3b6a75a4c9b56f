"""The workers that serve one pipeline, seen as a place to hand runs in and to get answers out.

``Crew`` talks to processes. ``LocalCrew`` does the work in the calling process, at the moment it is handed in; it is
what ``num_workers=0`` means. Everything above this module is the same for both.
"""

from __future__ import annotations

import logging
import select
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Protocol

from datarax_mp.core.spec import Layout
from datarax_mp.ring import Ring
from datarax_mp.workers.errors import RemoteError, WorkerError, describe_exit
from datarax_mp.workers.pool import Worker, pool
from datarax_mp.workers.program import Program
from datarax_mp.workers.protocol import Attach, Done, Failed, Loaded, Run
from datarax_mp.workers.shipping import Shipment

log = logging.getLogger("datarax_mp")

_DEATHS_PER_STEP = 2  # a record that has killed two workers will kill the third
_DEATHS_IN_A_ROW = 5  # no step finished in between: replacing more would only go on and on


@dataclass(frozen=True, slots=True)
class Ticket:
    """A run that has been handed in.

    Attributes:
        run: what is to be done.
        ring: where its slot is.
        feed: the number of the feed that handed it in; an answer to another feed's run is discarded.
    """

    run: Run
    ring: Ring
    feed: int

    def discard(self) -> None:
        """Nobody waits for it: only its slot matters."""
        self.ring.release(self.run.slot)


class _LoadTicket:
    def discard(self) -> None:
        """Nothing hangs on it."""


class CrewLike(Protocol):
    """What a feed needs of a crew."""

    concurrent: bool

    def layout(self) -> Layout: ...  # noqa: D102
    def attach(self, ring: Ring, layout: Layout) -> None: ...  # noqa: D102
    def submit(self, ticket: Ticket, depth: int) -> bool: ...  # noqa: D102
    def answers(self, *, wait: bool) -> list[tuple[Ticket, Done | Failed]]: ...  # noqa: D102
    def leave(self) -> None: ...  # noqa: D102
    def kill(self) -> None: ...  # noqa: D102


class LocalCrew:
    """Does the work in the calling process."""

    concurrent = False

    def __init__(self, program: Program) -> None:
        self._program = program
        self._answers: list[tuple[Ticket, Done | Failed]] = []

    def layout(self) -> Layout:
        """Read the first record and fix the layout."""
        self._program.layout = self._program.probe()
        return self._program.layout

    def attach(self, ring: Ring, layout: Layout) -> None:
        """Write batches as the layout says; a ticket brings its ring along."""
        self._program.layout = layout

    def submit(self, ticket: Ticket, depth: int) -> bool:
        """Do the run now, unless an answer is waiting to be taken."""
        if self._answers:
            return False
        run, ring = ticket.run, ticket.ring
        began = time.perf_counter()
        try:
            infos = self._program.write(ring.memory, run.slot * ring.slot_bytes, run.epoch, run.step, run.steps)
        except Exception as error:
            completed = error.__dict__.pop("completed_infos", ())
            self._answers.append((ticket, Failed(_Raised(error), completed)))
        else:
            self._answers.append((ticket, Done(time.perf_counter() - began, infos)))
        return True

    def answers(self, *, wait: bool) -> list[tuple[Ticket, Done | Failed]]:
        """What has been done since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def leave(self) -> None:
        """Nothing to give back."""

    kill = leave


class _Raised(RemoteError):
    """An exception that was raised right here, and needs no packing."""

    def __init__(self, error: Exception) -> None:
        object.__setattr__(self, "_error", error)

    def restore(self) -> BaseException:
        return self._error  # type: ignore[attr-defined, no-any-return]


class Crew:
    """Leased worker processes with one program loaded.

    A worker that dies is replaced, and what it had not finished is done again by others: the order is a pure function,
    so nothing is lost and the stream stays as it is.

    Args:
        shipment: the serialised program.
        size: how many workers.
        probe: whether the layout is still to be found; the first worker then finds it while it loads the program.
    """

    concurrent = True

    def __init__(self, shipment: Shipment, size: int, *, probe: bool) -> None:
        self._shipment = shipment
        self._attach: tuple[Ring, Layout] | None = None
        self._again: deque[Ticket] = deque()
        self._deaths: Counter[int] = Counter()
        self._deaths_in_a_row = 0
        self._last_death = ""
        self._poll = select.poll()
        self._by_descriptor: dict[int, Worker] = {}
        self.workers = pool().lease(size, shipment.number)
        try:
            pool().settle(self.workers)
            for place, worker in enumerate(self.workers):
                self._welcome(worker, probe=probe and place == 0)
        except BaseException:
            self.kill()
            raise

    def layout(self) -> Layout:
        """Let a worker read the first record and fix the layout.

        Raises:
            Exception: what the source or a stage raised.
            WorkerError: the worker died of it.
        """
        worker = self.workers[0]
        for _ in range(_DEATHS_PER_STEP):
            try:
                answer, _ = worker.channel.receive()
            except (EOFError, ConnectionError):
                worker = self._bury(worker, probe=True)
                continue
            worker.pending.popleft()
            if isinstance(answer, Failed):
                raise answer.error.restore()
            assert isinstance(answer, Loaded) and answer.layout is not None
            return answer.layout
        raise WorkerError(
            f"worker processes die while they load the source or read its first record: {self._last_death}. "
            "Try the source and the stages in this process, with num_workers=0"
        )

    def attach(self, ring: Ring, layout: Layout) -> None:
        """Make all workers write to this ring."""
        self._attach = (ring, layout)
        for worker in self.workers:
            self._send_attach(worker)

    def submit(self, ticket: Ticket, depth: int) -> bool:
        """Give a run to the worker with the least to do, if it has less than ``depth`` runs in hand."""
        worker = min(self.workers, key=lambda worker: len(worker.pending))
        if len(worker.pending) >= depth:
            return False
        worker.pending.append(ticket)
        try:
            worker.channel.send(ticket.run)
        except OSError:
            pass  # it has died; that is noticed where answers are read, and the ticket is among its pending ones
        return True

    def answers(self, *, wait: bool) -> list[tuple[Ticket, Done | Failed]]:
        """Take the answers that have arrived; with ``wait``, at least one event is waited for.

        Raises:
            WorkerError: workers keep dying.
        """
        answers: list[tuple[Ticket, Done | Failed]] = []
        # Resolved before anything is done: a replacement may get a dead worker's descriptor numbers.
        events = [(self._by_descriptor[ready], ready) for ready, _ in self._poll.poll(None if wait else 0)]
        for worker, descriptor in events:
            if worker not in self.workers:
                continue  # buried a moment ago, because of its other descriptor
            try:
                if descriptor == worker.sentinel:
                    while worker.pending and worker.answered():  # what it said before it died counts
                        self._take(worker, answers)
                    raise EOFError
                self._take(worker, answers)
            except (EOFError, ConnectionError):
                self._bury(worker)
        while self._again and self.submit(self._again[0], depth=2):
            self._again.popleft()
        return answers

    def _take(self, worker: Worker, answers: list[tuple[Ticket, Done | Failed]]) -> None:
        answer, _ = worker.channel.receive()
        question = worker.pending.popleft()
        if isinstance(question, Ticket):
            answers.append((question, answer))
            self._deaths_in_a_row = 0

    def _welcome(self, worker: Worker, *, probe: bool) -> None:
        self._poll.register(worker.channel.fileno(), select.POLLIN)
        self._by_descriptor[worker.channel.fileno()] = worker
        if worker.sentinel >= 0:
            self._poll.register(worker.sentinel, select.POLLIN)
            self._by_descriptor[worker.sentinel] = worker
        if worker.loaded != self._shipment.number:
            worker.loaded = self._shipment.number
            worker.pending.append(_LoadTicket())
            try:
                worker.channel.send(self._shipment.message(probe=probe), self._shipment.descriptors)
            except OSError:
                pass  # see submit

    def _send_attach(self, worker: Worker) -> None:
        assert self._attach is not None
        ring, layout = self._attach
        assert ring.segment is not None
        try:
            worker.channel.send(Attach(ring.segment.size, ring.slot_bytes, layout), (ring.segment.fd,))
        except OSError:
            pass  # see submit

    def _bury(self, worker: Worker, *, probe: bool = False) -> Worker:
        """Replace a dead worker, and put what it had in hand up for others."""
        for descriptor in (worker.channel.fileno(), worker.sentinel):
            if self._by_descriptor.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
        lost = [question for question in worker.pending if isinstance(question, Ticket)]
        worker.pending.clear()  # what is lost is handed in again; it keeps its slot
        self._last_death = f"worker {worker.pid} died of {describe_exit(pool().exit_status(worker))}"
        worker.close()
        self.workers.remove(worker)
        self._deaths_in_a_row += 1
        doing = ""
        if lost:
            run = lost[0].run  # runs are done in order, so this is the one it was at
            doing = f" at step {run.step}" + (f" to {run.step + run.steps - 1}" if run.steps > 1 else "")
            doing += f" of epoch {run.epoch}"
            self._deaths[run.step] += 1
        if self._deaths_in_a_row > _DEATHS_IN_A_ROW or (lost and self._deaths[lost[0].run.step] >= _DEATHS_PER_STEP):
            self._again.extend(lost)  # discarded with the rest when the crew leaves
            raise WorkerError(f"{self._last_death}{doing}, after others had died there")
        # One that dies with nothing in hand, such as a parked one that leaves just now, is not worth a warning.
        level = logging.WARNING if lost else logging.DEBUG
        log.log(level, "%s%s; a new worker takes its place and does the work again", self._last_death, doing)
        [replacement] = pool().lease(1, self._shipment.number)
        self.workers.append(replacement)
        pool().settle([replacement])
        self._welcome(replacement, probe=probe)
        if self._attach is not None:
            self._send_attach(replacement)
        self._again.extend(lost)
        return replacement

    def leave(self) -> None:
        """Give the workers back to the pool, with the program still loaded."""
        workers, self.workers = self.workers, []
        pool().park(workers)
        while self._again:
            self._again.popleft().discard()

    def kill(self) -> None:
        """End the workers: something went wrong in the middle of a conversation."""
        for worker in self.workers:
            worker.kill()
        self.workers = []
