"""Main's end of the nursery: asks for workers, and hears of their starts and ends."""

from __future__ import annotations

import heapq
import logging
import os
import subprocess
from contextlib import ExitStack

from datarax_mp.core.descriptors import close_socket, connection, identity, is_gone, readable
from datarax_mp.core.errors import WorkerError, describe_exit
from datarax_mp.core.patience import Patience
from datarax_mp.core.refusals import in_words, is_refusal
from datarax_mp.core.undisturbed import undisturbed
from datarax_mp.crews.processes import launch
from datarax_mp.crews.processes.board import LINES, Board
from datarax_mp.crews.processes.nursery_protocol import (
    Ended,
    EndUnlessDone,
    Fork,
    Notice,
    Request,
    Signal,
    ask,
    next_notice,
)
from datarax_mp.crews.processes.protocol import Channel
from datarax_mp.crews.processes.shortage import Watch
from datarax_mp.crews.processes.worker import Worker

log = logging.getLogger("datarax_mp")

_EXIT_SECONDS = 2.0
_NOTICE_SECONDS = 10.0  # the nursery tells of a death at once, and that it has died or is stopped shows at once, too
_BEGIN_SECONDS = 120.0  # to import NumPy and this package, maybe from a disk far away, on a machine that is busy
_ANSWER_SECONDS = 20.0  # to fork, which takes a millisecond


class NurseryLostError(WorkerError):
    """The nursery was killed, or does not react, while it started workers; another one may fare better."""


class Spawner:
    """One nursery process and the workers that it has forked.

    Attributes:
        process: the nursery.
        memory: whom the kernel has killed since it began because memory ran out.
        modules: what its workers need not import any more, beyond what every worker has.
        recipe_id: the recipe that they find in their memory, or None.
        large: whether it had better not be taken to pieces in each of them.

    Raises:
        WorkerError: there can be no further process, or no further descriptor.
    """

    modules: frozenset[str] = frozenset()
    recipe_id: int | None = None
    large = False

    def __init__(self) -> None:
        self._begin(list(range(LINES)), set())
        self.memory = Watch()
        try:
            with ExitStack() as undo:
                self._board = Board()
                undo.callback(self._board.close)
                self._control, theirs = connection()
                self._control_known = identity(self._control.fileno())
                undo.callback(self._control.close)
                with theirs:
                    self.process = launch.start(theirs.fileno(), self._board.fd)
                undo.pop_all()
        except OSError as error:
            if not is_refusal(error):
                raise
            raise _refusal(error) from error

    def _begin(self, lines: list[int], pids: set[int]) -> None:
        self._lines = lines  # a heap: low numbers read better
        self._pids = pids
        self._starting: dict[int, Worker] = {}  # by line, until the nursery has told their process
        self._early: set[int] = set()  # lines of those that were closed before that
        self._refused: dict[int, int] = {}  # by line: the number of the error, where no process could be started
        self._exits: dict[int, int] = {}
        self._has_answered = False

    def spawn(self, count: int) -> list[Worker]:
        """Ask for workers; ``finish`` waits for the answers.

        Raises:
            WorkerError: there are too many already, or there can be no further descriptor.
            NurseryLostError: see there.
        """
        if count > len(self._lines):
            raise WorkerError(f"{LINES} worker processes are the most in one process; lower num_workers")
        workers: list[Worker] = []
        try:
            for _ in range(count):
                self._request(workers)
        except BaseException:
            _close(workers)
            raise
        return workers

    def _request(self, workers: list[Worker]) -> None:
        try:
            ours, theirs = connection()
        except OSError as error:
            if not is_refusal(error):
                raise
            raise _refusal(error) from error
        line = heapq.heappop(self._lines)
        self._board.clear(line)
        worker = Worker(Channel(ours), self._board, line, self._give_back, self.signal)
        workers.append(worker)  # whoever has these closes it, whether the nursery has heard of it or not
        self._starting[line] = worker
        with theirs:
            try:
                self._ask(Fork(line), theirs.fileno())
            except BlockingIOError as error:
                raise self._no_start() from error
            except OSError as error:
                if not is_gone(error):
                    raise
                raise self._no_start() from error

    def finish(self, workers: list[Worker]) -> None:
        """Wait until the processes of these workers are known.

        Raises:
            WorkerError: one could not be started; then none is.
            NurseryLostError: see there.
        """
        try:
            for worker in workers:
                patience = Patience(_ANSWER_SECONDS if self._has_answered else _BEGIN_SECONDS)
                while self._starting.get(worker.line) is worker:
                    if not self._hear(patience):
                        raise self._no_start()
                if (number := self._refused.pop(worker.line, None)) is not None:
                    raise _refusal(OSError(number, os.strerror(number)))
        except BaseException:
            _close(workers)
            raise

    def _no_start(self) -> WorkerError:
        """The nursery is dead, or of no use."""
        ended = launch.has_ended(self.process)
        if not ended and not launch.is_stopped(self.process) and readable([self._control.fileno()], 0):
            try:
                self.process.wait(_EXIT_SECONDS)  # it has closed its end, so it is about to leave
            except subprocess.TimeoutExpired:
                pass
            ended = launch.has_ended(self.process)
        status = launch.kill(self.process, self._pids)
        if not ended:
            told = f"process {self.process.pid}, which starts workers, does not react, and is replaced"
            log.warning("%s", told)
            return NurseryLostError(told)
        kind = NurseryLostError if status <= 0 else WorkerError  # 0: it has lost its connection to us
        return kind(
            f"worker processes could not be started: their parent ended with {describe_exit(status)}; what it wrote to "
            "standard error says why"
        )

    def end_unless_done(self, worker: Worker, seconds: float) -> None:
        """Have a worker killed that has not dealt with what it was sent so far when the time is over.

        Raises:
            OSError: the nursery has died, or does not react.
        """
        self._ask(EndUnlessDone(worker.pid, worker.channel.sent, seconds))

    def signal(self, pid: int, number: int) -> None:
        """Have a signal sent by the nursery, which knows for sure whether the number is still that of a worker.

        Raises:
            OSError: the nursery has died, or does not react.
        """
        self._ask(Signal(pid, number))

    def _ask(self, request: Request, descriptor: int | None = None) -> None:
        ask(self._control, request, descriptor)

    def exit_status(self, pid: int) -> int | None:
        """How a worker ended, or None when nobody can tell."""
        patience = Patience(_NOTICE_SECONDS)
        while pid not in self._exits:
            if not self._hear(patience):
                return None
        return self._exits.pop(pid)

    def alive(self) -> bool:
        """Whether the nursery lives, and can be talked to."""
        return not launch.has_ended(self.process) and identity(self._control.fileno()) == self._control_known

    def close(self) -> None:
        """End the nursery, which ends its workers and what these have started."""
        self._let_go()
        self._board.close()
        if not launch.is_stopped(self.process) and not launch.has_ended(self.process):
            try:
                self.process.wait(_EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        launch.kill(self.process, self._pids)

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a word to anybody."""
        self._let_go()
        self._board.close()
        self.process.returncode = 0  # not our child: nothing to wait for

    def _let_go(self) -> None:
        close_socket(self._control, self._control_known)
        _close(list(self._starting.values()))

    def _hear(self, patience: Patience) -> bool:
        """Read one notice, or wait a while for it; False if none will come: it has died, is stopped or takes too long.

        Who was interrupted in here has left a thread behind that still reads one. So whoever waits for something looks
        whether it is there after every call.
        """
        if self._control.fileno() < 0:
            return False  # closed, since it had died
        if not readable([self._control.fileno()], patience.slice()):
            return not (patience.over() or self._stopped())
        # Or an interrupt would lose the notice, and somebody would wait for it for ever, and the descriptors with it.
        heard = undisturbed(self._take_notice)
        if isinstance(heard, BlockingIOError):
            return True  # such a thread has been quicker
        if isinstance(heard, OSError) and is_gone(heard):
            return False
        if isinstance(heard, BaseException):
            self._kill()  # there is no telling what it has said
            raise heard
        self._has_answered = self._has_answered or heard
        return heard

    def _take_notice(self) -> bool:
        heard = next_notice(self._control)
        if heard is None:
            return False
        self._note(*heard)
        return True

    def _stopped(self) -> bool:
        return launch.is_stopped(self.process)

    def _kill(self) -> None:
        self.process.kill()

    def _note(self, notice: Notice, descriptors: list[int]) -> None:
        if isinstance(notice, Ended):
            self._exits[notice.pid] = notice.status
            self._pids.discard(notice.pid)
            return
        line, pid, error = notice
        worker = self._starting[line]
        stack_fd, sentinel = (*descriptors, -1, -1)[:2]
        worker.begin(pid, stack_fd, sentinel)
        if pid < 0:
            self._refused[line] = error
        else:
            self._pids.add(pid)
            self._exits.pop(pid, None)  # of another process that had this number before
        del self._starting[line]  # not before: this may be another thread than the one that waits for it
        if worker.closed:  # before it had started
            self._refused.pop(line, None)
            worker.kill()
            if line in self._early:
                self._early.discard(line)
                heapq.heappush(self._lines, line)

    def _give_back(self, line: int) -> None:
        """A worker is closed: another one may have its line, once the nursery is through with it.

        Two threads can come here at once, see ``_hear``. Then a line is lost at worst, and none is given twice.
        """
        if line in self._starting:
            self._early.add(line)
        else:
            heapq.heappush(self._lines, line)


def _close(workers: list[Worker]) -> None:
    for worker in workers:
        worker.kill()


def _refusal(error: OSError) -> WorkerError:
    return WorkerError(f"no worker process can be started: {in_words(error)}. Lower num_workers, or use num_workers=0")
