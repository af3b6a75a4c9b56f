"""The worker processes of this interpreter: started once, lent to one pipeline after the other.

There is one pool in a process. It starts the nursery with the first worker, keeps workers that no pipeline needs
(*parked*; they leave by themselves after a minute), and ends everything when the interpreter exits. A process that the
user forks starts over with an empty pool and closes the descriptors it inherited.
"""

from __future__ import annotations

import atexit
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Protocol

from datarax_mp.workers.errors import WorkerError, describe_exit
from datarax_mp.workers.nursery import NOTICE
from datarax_mp.workers.protocol import Channel, Park, Unload

PARK_SECONDS = 60.0  # long enough for an evaluation or a checkpoint between two epochs
_NURSERY_EXIT_SECONDS = 2.0

# One thread per worker: eight workers with eight BLAS threads each fight over the same cores.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")

_COMMAND = "import sys; sys.path[:] = sys.argv[2:]; from datarax_mp.workers.nursery import main; main(int(sys.argv[1]))"

program_numbers = itertools.count(1)


class Question(Protocol):
    """Something a worker has been asked."""

    def discard(self) -> None:
        """Called when the answer came after whoever asked had gone."""
        ...


class Worker:
    """This process's view of one worker.

    Attributes:
        channel: our end of its channel.
        loaded: the number of the program that it has, or None.
        pending: what it has been asked and has not answered yet, oldest first (see ``crew``).
        pid: its process, known once the nursery has answered.
        sentinel: a descriptor that becomes readable when the process ends (Linux), else -1.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.loaded: int | None = None
        self.pending: deque[Question] = deque()
        self.pid = -1
        self.sentinel = -1

    def ended(self) -> bool:
        """Whether the process has ended, as far as the operating system says so without waiting."""
        return self.sentinel >= 0 and _readable(self.sentinel)

    def discard_answers(self) -> None:
        """Read what has been answered meanwhile to questions that nobody waits for any more."""
        while self.pending and self.answered():
            self.channel.receive()
            self.pending.popleft().discard()

    def answered(self) -> bool:
        """Whether there is something to read from it."""
        return _readable(self.channel.fileno())

    def close(self) -> None:
        """Close our descriptors; the worker leaves when it reads the end of its channel."""
        while self.pending:
            self.pending.popleft().discard()
        self.channel.close()
        if self.sentinel >= 0:
            os.close(self.sentinel)
            self.sentinel = -1

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self.pid > 0 and not self.ended():
            if self.sentinel >= 0:
                signal.pidfd_send_signal(self.sentinel, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        self.close()


class _Nursery:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        for name in _ONE_THREAD:
            environment.setdefault(name, "1")
        package_root = str(Path(__file__).resolve().parents[2])
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
                    *("-c", _COMMAND, str(theirs.fileno())),
                    *[os.path.abspath(entry) for entry in sys.path],
                    package_root,
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # out of the reach of the terminal's Ctrl-C and of the group's signals
            )
        self.control = ours
        self.exits: dict[int, int] = {}
        self._unanswered: deque[Worker] = deque()  # answers come in the order of the requests

    def spawn(self, count: int) -> list[Worker]:
        """Ask for workers; ``finish`` waits for the answers."""
        workers = []
        for _ in range(count):
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self.control, [b"F"], [theirs.fileno()])
            workers.append(Worker(Channel(ours)))
            self._unanswered.append(workers[-1])
        return workers

    def finish(self, workers: list[Worker]) -> None:
        for worker in workers:
            while worker in self._unanswered:
                if not self._read_notice(None):
                    status = self.process.wait()
                    raise WorkerError(
                        f"worker processes could not be started: their parent ended with {describe_exit(status)}; "
                        "what it wrote to standard error says why"
                    )
            if worker.pid < 0:
                raise WorkerError(
                    "the system refuses another process; lower num_workers or raise its limit (ulimit -u)"
                )

    def exit_status(self, pid: int, seconds: float = 1.0) -> int | None:
        """How a worker ended, or None when nobody can tell."""
        while pid not in self.exits:
            if not self._read_notice(seconds):
                return None
        return self.exits.pop(pid)

    def _read_notice(self, seconds: float | None) -> bool:
        ready, _, _ = select.select([self.control], [], [], seconds)
        if not ready:
            return False
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, NOTICE.size, 1)
        except ConnectionError:
            return False
        if len(data) < NOTICE.size:
            return False
        kind, pid, status = NOTICE.unpack(data)
        if kind == b"S":
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            worker = self._unanswered.popleft()
            worker.pid, worker.sentinel = pid, descriptors[0] if descriptors else -1
        else:
            self.exits[pid] = status
        return True

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        self.control.close()  # the nursery kills its workers and leaves
        try:
            self.process.wait(_NURSERY_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pool:
    """All worker processes of this interpreter. Use ``pool()`` to get it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a finalizer may park workers in the middle of anything
        self._nursery: _Nursery | None = None
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()  # parked and lent alike
        self._parked: list[Worker] = []

    def prepare(self) -> None:
        """Start the nursery, so that it is up by the time workers are wanted."""
        with self._lock:
            if self._nursery is not None and not self._nursery.alive():
                self._nursery.close()
                self._nursery = None
            if self._nursery is None:
                self._nursery = _Nursery()

    def lease(self, count: int, program: int) -> list[Worker]:
        """Take ``count`` workers: parked ones first, those that have the program loaded before others.

        New ones may still be starting; ``settle`` waits until their process numbers are known.
        """
        with self._lock:
            self._parked = [worker for worker in self._parked if not self._gone(worker)]
            # A worker that is still busy for another pipeline would delay this one.
            usable = [w for w in self._parked if w.loaded == program or not w.pending]
            usable.sort(key=lambda worker: worker.loaded != program)
            taken = usable[:count]
            self._parked = [worker for worker in self._parked if worker not in taken]
            if len(taken) < count:
                self.prepare()
                assert self._nursery is not None
                started = self._nursery.spawn(count - len(taken))
                self._workers.update(started)
                taken += started
            return taken

    def settle(self, workers: list[Worker]) -> None:
        """Wait until every worker's process is known.

        Raises:
            WorkerError: a process could not be started.
        """
        with self._lock:
            if self._nursery is not None:
                self._nursery.finish([worker for worker in workers if worker.pid < 0])

    def park(self, workers: list[Worker]) -> None:
        """Take workers back; they keep their program until another one is needed."""
        with self._lock:
            for worker in workers:
                try:
                    worker.channel.send(Park(PARK_SECONDS))
                except OSError:
                    worker.close()
                else:
                    self._parked.append(worker)

    def unload(self, program: int) -> None:
        """Make parked workers forget a program and its ring."""
        with self._lock:
            for worker in self._parked:
                if worker.loaded == program:
                    worker.loaded = None
                    try:
                        worker.channel.send(Unload())
                        worker.channel.send(Park(PARK_SECONDS))
                    except OSError:
                        pass  # it has left; ``lease`` will notice

    def exit_status(self, worker: Worker) -> int | None:
        """How a worker that has ended came to its end."""
        with self._lock:
            return self._nursery.exit_status(worker.pid) if self._nursery is not None else None

    def close(self) -> None:
        """End all workers and the nursery."""
        with self._lock:
            self._close_workers()
            if self._nursery is not None:
                self._nursery.close()
                self._nursery = None

    def abandon(self) -> None:
        """In a forked child: close what belongs to the parent, without a word to anybody."""
        self._lock = threading.RLock()
        self._close_workers()
        if self._nursery is not None:
            self._nursery.control.close()
            self._nursery.process.returncode = 0  # not our child: nothing to wait for
            self._nursery = None

    def _close_workers(self) -> None:
        for worker in self._workers:
            worker.close()
        self._parked = []

    def _gone(self, worker: Worker) -> bool:
        try:
            worker.discard_answers()
            gone = worker.ended()
        except (EOFError, OSError):
            gone = True
        if gone:
            worker.close()
        return gone


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


_pool = Pool()


def pool() -> Pool:
    """The pool of this process."""
    return _pool


atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.abandon)
