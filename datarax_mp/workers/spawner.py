"""Main's end of the nursery: asks for workers, and hears of their starts and ends."""

from __future__ import annotations

import heapq
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from datarax_mp.workers.board import PLACES, Board
from datarax_mp.workers.errors import WorkerError, describe_exit
from datarax_mp.workers.nursery import DOOM, ENDED, FORK, NOTICE, REQUEST, STARTED
from datarax_mp.workers.protocol import Channel
from datarax_mp.workers.worker import Worker

_EXIT_SECONDS = 2.0
_NOTICE_SECONDS = 1.0  # the nursery tells of a death at once; longer means that it has died itself

# One thread per worker: eight workers with eight BLAS threads each fight over the same cores.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")

_COMMAND = (
    "import sys; sys.path[:] = sys.argv[3:]; from datarax_mp.workers.nursery import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)


class NurseryKilledError(WorkerError):
    """The nursery was killed while it started workers; another one may fare better."""


class Spawner:
    """One nursery process and the workers that it has forked."""

    def __init__(self) -> None:
        self._board = Board()
        self._places = list(range(PLACES))  # a heap: low numbers read better
        self._starting: dict[int, Worker] = {}  # by place, until the nursery has told their process
        self._exits: dict[int, int] = {}
        ours, theirs = socket.socketpair()
        self._control = ours
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        for name in _ONE_THREAD:
            environment.setdefault(name, "1")
        package_root = str(Path(__file__).resolve().parents[2])
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
                    *("-c", _COMMAND, str(theirs.fileno()), str(self._board.fd)),
                    *[os.path.abspath(entry) for entry in sys.path],
                    package_root,
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), self._board.fd],
                start_new_session=True,  # out of the reach of the terminal's Ctrl-C and of the group's signals
            )

    def spawn(self, count: int) -> list[Worker]:
        """Ask for workers; ``finish`` waits for the answers.

        Raises:
            WorkerError: there are too many already.
            NurseryKilledError: see there.
        """
        if count > len(self._places):
            raise WorkerError(f"{PLACES} worker processes are the most in one process; lower num_workers")
        workers = []
        for _ in range(count):
            place = heapq.heappop(self._places)
            self._board.clear(place)
            ours, theirs = socket.socketpair()
            worker = self._starting[place] = Worker(Channel(ours), self._board, place, self._give_back)
            workers.append(worker)
            with theirs:
                try:
                    socket.send_fds(self._control, [REQUEST.pack(FORK, place, 0, 0.0)], [theirs.fileno()])
                except OSError as error:
                    raise self._no_start(self.process.wait()) from error
        return workers

    def finish(self, workers: list[Worker]) -> None:
        """Wait until the processes of these workers are known.

        Raises:
            WorkerError: one could not be started.
            NurseryKilledError: see there.
        """
        for worker in workers:
            while self._starting.get(worker.place) is worker:
                if not self._hear(None):
                    raise self._no_start(self.process.wait())
            if worker.pid < 0:
                raise WorkerError(
                    "the system refuses another process; lower num_workers or raise its limit (ulimit -u)"
                )

    def _no_start(self, status: int) -> WorkerError:
        kind = NurseryKilledError if status < 0 else WorkerError
        return kind(
            f"worker processes could not be started: their parent ended with {describe_exit(status)}; what it wrote to "
            "standard error says why"
        )

    def doom(self, worker: Worker, seconds: float) -> None:
        """Have a worker killed that has not dealt with what it was sent so far when the time is over."""
        self._control.sendall(REQUEST.pack(DOOM, worker.pid, worker.channel.sent, seconds))

    def exit_status(self, pid: int) -> int | None:
        """How a worker ended, or None when nobody can tell."""
        while pid not in self._exits:
            if not self._hear(_NOTICE_SECONDS):
                return None
        return self._exits.pop(pid)

    def alive(self) -> bool:
        """Whether the nursery lives."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the nursery, which ends its workers."""
        self._let_go()
        try:
            self.process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a word to anybody."""
        self._let_go()
        self.process.returncode = 0  # not our child: nothing to wait for

    def _let_go(self) -> None:
        self._control.close()
        self._board.close()
        for worker in list(self._starting.values()):
            worker.close()

    def _hear(self, seconds: float | None) -> bool:
        """Read one notice; False if none came, or the nursery has died."""
        ready, _, _ = select.select([self._control], [], [], seconds)
        if not ready:
            return False
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, NOTICE.size, 2)
            if len(data) < NOTICE.size:
                return False
            self._note(NOTICE.unpack(data), descriptors)
        except ConnectionError:
            return False
        except BaseException:  # interrupted with a notice in hand: it is lost, and somebody would wait for it for ever
            self.process.kill()
            raise
        return True

    def _note(self, notice: tuple[bytes, int, int, int], descriptors: list[int]) -> None:
        kind, place, pid, status = notice
        if kind == ENDED:
            self._exits[pid] = status
            return
        assert kind == STARTED
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        worker = self._starting.pop(place)
        worker.stack_fd, worker.sentinel = (*descriptors, -1, -1)[:2]
        worker.pid = pid
        if worker.closed:  # before it had started
            worker.kill()
            self._give_back(place)

    def _give_back(self, place: int) -> None:
        if place not in self._starting:
            heapq.heappush(self._places, place)
