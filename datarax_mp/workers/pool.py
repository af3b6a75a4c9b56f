"""The worker processes of this interpreter: started once, lent to one pipeline after the other.

    spawn ---> lent ----park----> parked ----lease----> lent ...
                 |                  |  |
              died, killed          |  +-- idle for a minute: leaves
                                    +-- still busy with what nobody waits for: killed after two seconds

There is one pool in a process. It starts the nursery with the first worker and ends everything when the interpreter
exits. A process that the user forks starts over with an empty pool and closes the descriptors it inherited.

Any thread may call any method. ``park`` and ``unload`` are called by finalizers as well, and those run in the middle of
anything, be it another method of this class in the same thread; then their work is done when that method is through.
"""

from __future__ import annotations

import atexit
import itertools
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from datarax_mp.workers.protocol import Park, Unload
from datarax_mp.workers.spawner import NurseryLostError, Spawner
from datarax_mp.workers.worker import Worker

PARK_SECONDS = 60.0  # long enough for an evaluation or a checkpoint between two epochs
GRACE_SECONDS = 2.0  # to finish what nobody waits for any more
_ATTEMPTS = 3  # to start workers, where the nursery is killed meanwhile

program_numbers = itertools.count(1)


class Pool:
    """All worker processes of this interpreter. Use ``pool()`` to get it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None  # the thread that has the lock
        self._postponed: deque[Callable[[], None]] = deque()
        self._spawner: Spawner | None = None
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()  # parked and lent alike
        self._parked: list[Worker] = []  # the one that was used last comes last

    def prepare(self) -> None:
        """Start the nursery, so that it is up by the time workers are wanted."""
        with self._locked():
            self._ready_spawner()

    def lease(self, count: int, program: int) -> list[Worker]:
        """Take ``count`` workers: parked ones first, those that have the program loaded before others.

        Raises:
            WorkerError: a process could not be started.
        """
        with self._locked():
            self._bury_parked()
            # A worker that is still busy for another pipeline would delay this one.
            usable = [w for w in reversed(self._parked) if w.loaded == program or not w.pending]
            usable.sort(key=lambda worker: worker.loaded != program)
            taken = usable[:count]
            self._parked = [worker for worker in self._parked if worker not in taken]
            return taken + self._spawn(count - len(taken))

    def _spawn(self, count: int) -> list[Worker]:
        for attempt in range(_ATTEMPTS):
            if count == 0:
                break
            spawner = self._ready_spawner()
            try:
                started = spawner.spawn(count)
                self._workers.update(started)
                spawner.finish(started)
            except NurseryLostError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return started
        return []

    def park(self, workers: list[Worker]) -> None:
        """Take workers back; they keep their program until another one is needed."""
        self._do(partial(self._park, workers))

    def unload(self, program: int) -> None:
        """Make parked workers forget a program and its ring."""
        self._do(partial(self._unload, program))

    def finish(self, program: int, seconds: float) -> None:
        """Wait until no parked worker is busy with a program; those that still are after ``seconds`` are killed."""
        with self._locked():
            busy = [w for w in self._bury_parked() if w.loaded == program and w.pending]
            self._parked = [worker for worker in self._parked if worker not in busy]
        # Not under the lock: other pipelines go on meanwhile.
        for worker in _wait_for(busy, seconds):
            worker.kill()
            busy.remove(worker)
        with self._locked():
            self._parked += [worker for worker in busy if not worker.closed]

    def exit_status(self, worker: Worker) -> int | None:
        """How a worker that has ended came to its end; None if its nursery has died, and it with that."""
        with self._locked():
            return self._spawner.exit_status(worker.pid) if self._spawner is not None else None

    def close(self) -> None:
        """End all workers and the nursery."""
        with self._locked():
            self._close_workers()
            if self._spawner is not None:
                self._spawner.close()
                self._spawner = None

    def abandon(self) -> None:
        """In a forked child: close what belongs to the parent, without a word to anybody."""
        self._lock = threading.Lock()
        self._holder = None
        self._postponed.clear()
        self._close_workers()
        if self._spawner is not None:
            self._spawner.abandon()
            self._spawner = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # ``with``, never ``acquire``: an interrupt between that and its ``try`` would leave the lock taken for ever.
        with self._lock:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                while self._postponed:
                    self._postponed.popleft()()
                self._holder = None

    def _do(self, work: Callable[[], None]) -> None:
        if self._lock.locked() and self._holder == threading.get_ident():
            self._postponed.append(work)
        else:
            with self._locked():
                work()

    def _ready_spawner(self) -> Spawner:
        if self._spawner is not None and not self._spawner.alive():
            self._spawner.close()
            self._spawner = None
        if self._spawner is None:
            self._spawner = Spawner()
        return self._spawner

    def _park(self, workers: list[Worker]) -> None:
        for worker in workers:
            try:
                worker.channel.send(Park(PARK_SECONDS))
                self._doom_if_busy(worker)
            except OSError:
                worker.close()
            else:
                self._parked.append(worker)

    def _unload(self, program: int) -> None:
        for worker in self._parked:
            if worker.loaded == program:
                worker.loaded = worker.attached = None
                with suppress(OSError):  # it has left; ``lease`` will notice
                    worker.channel.send(Unload())
                    worker.channel.send(Park(PARK_SECONDS))

    def _doom_if_busy(self, worker: Worker) -> None:
        with suppress(EOFError):
            worker.discard_answers()
        if worker.pending and self._spawner is not None and worker.pid > 0:
            worker.doomed = worker.channel.sent
            self._spawner.doom(worker, GRACE_SECONDS)

    def _bury_parked(self) -> list[Worker]:
        """Drop those that have left; return the others."""
        self._parked = [worker for worker in self._parked if not _gone(worker)]
        return self._parked

    def _close_workers(self) -> None:
        for worker in list(self._workers):
            worker.close()
        self._parked = []


def _gone(worker: Worker) -> bool:
    try:
        worker.discard_answers()
        gone = worker.ended()
    except (EOFError, OSError):
        gone = True
    if gone:
        worker.close()
    return gone


def _wait_for(workers: list[Worker], seconds: float) -> list[Worker]:
    """Wait until workers have answered everything or ended; return those that have done neither in time."""
    deadline = time.monotonic() + seconds
    while busy := [worker for worker in workers if worker.pending and not _gone(worker) and worker.pending]:
        left = deadline - time.monotonic()
        if left <= 0:
            return busy
        poll = select.poll()
        for worker in busy:
            poll.register(worker.channel.fileno(), select.POLLIN)
        poll.poll(left * 1000)
    return []


_pool = Pool()


def pool() -> Pool:
    """The pool of this process."""
    return _pool


atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.abandon)
