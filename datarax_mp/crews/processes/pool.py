"""The worker processes of this interpreter: started once, lent to one pipeline after the other.

    spawn ---> lent ----park----> parked ----lease----> lent ...
                 |                  |  |
              died, killed          |  +-- idle for a minute: leaves
                                    +-- still busy with what nobody waits for: killed after two seconds

There is one pool in a process. It starts the nursery with the first worker and ends everything when the interpreter
exits. A process that the user forks starts over with an empty pool and closes the descriptors it inherited.

Any thread may call any method, and so may finalizers and signal handlers, which run in the middle of anything, be it
another method of this class in the same thread. So the lock can be taken again by whoever has it, and whatever a method
works with, it takes out of the pool first, by a single step: a worker is with the pool or with one caller, never with
two. What finalizers do (``park``, ``unload``) waits for no other thread, because that may wait for theirs: it is noted,
and done by whoever comes out of the pool next.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial

from datarax_mp.core.descriptors import is_gone, readable
from datarax_mp.core.edits import last_code_version
from datarax_mp.core.errors import WorkerError
from datarax_mp.core.exits import Turn, at_exit
from datarax_mp.core.patience import Patience
from datarax_mp.core.trying import if_free
from datarax_mp.crews.processes.forking import can_tell
from datarax_mp.crews.processes.protocol import Fitness, Gone, Park, Unload
from datarax_mp.crews.processes.spawner import NurseryLostError, Spawner
from datarax_mp.crews.processes.template import Template, Templates
from datarax_mp.crews.processes.worker import Worker, reap_dying
from datarax_mp.shipping.need import Need

log = logging.getLogger("datarax_mp")

PARK_SECONDS = 60.0  # long enough for an evaluation or a checkpoint between two epochs
GRACE_SECONDS = 2.0  # to finish what nobody waits for any more
_DEATH_SECONDS = 10.0  # after SIGKILL, where a process may wait in the kernel
_ATTEMPTS = 3  # to start workers, where the nursery is killed meanwhile

recipe_ids = itertools.count(1)


class _Around:
    """Does something before a block and behind it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def __enter__(self) -> None:
        self._work()

    def __exit__(self, *_: object) -> None:
        self._work()


class Pool:
    """All worker processes of this interpreter. Use ``pool()`` to get it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._noting = _Around(self._do_noted)
        self._noted: deque[Callable[[], None]] = deque()
        self._spawner: Spawner | None = None
        self._templates = Templates()
        self._homes: weakref.WeakKeyDictionary[Worker, Spawner] = weakref.WeakKeyDictionary()  # parked and lent alike
        self._parked: dict[Worker, bool] = {}  # the one that was used last comes last

    def _do_noted(self) -> None:
        """Do what has been noted, unless another thread is inside: it asks once more when it has come out."""
        while self._noted and if_free(self._lock, self._do_next):
            pass

    def _do_next(self) -> None:
        if self._noted:
            self._noted.popleft()()

    def prepare(self) -> None:
        """Start the nursery, so that it is up by the time workers are wanted."""
        with self._noting, self._lock:
            self._ready_spawner()

    def lease(self, count: int, need: Need, *, fewer: bool = False) -> list[Worker]:
        """Take ``count`` workers: parked ones first, those that have the recipe loaded before others.

        Args:
            count: how many.
            need: what they have to have before they can work.
            fewer: whether half as many, and so on down to one, will do where processes cannot be started.

        Raises:
            WorkerError: a process could not be started.
        """
        while fewer and count > 1:
            try:
                return self.lease(count, need)
            except WorkerError as error:
                log.warning("%d workers could not be had, so half as many are tried: %s", count, error)
                count //= 2
        with self._noting, self._lock:
            taken = [worker for worker in self._usable(need)[:count] if self._claim(worker)]
            return taken + self._spawn(count - len(taken), need)

    def wants_template(self, count: int, need: Need) -> bool:
        """Whether a template should be made, before ``count`` workers are leased, so that they are forked of it."""
        with self._noting, self._lock:
            need = self._templates.attainable(need)
            if need.light or not can_tell() or self._templates.serve(need):
                return False
            missing = count - sum(worker.has(need) for worker in self._usable(need))
            lent = [home for worker, home in self._homes.items() if not (worker.closed or worker in self._parked)]
            return missing > 1 and self._templates.make_room(lent)

    def start_one(self, need: Need) -> Worker:
        """Start a worker that nobody has used before, to make a template of.

        Raises:
            WorkerError: the process could not be started.
        """
        with self._noting, self._lock:
            [worker] = self._spawn(1, need)
            return worker

    def make_template(self, worker: Worker, need: Need, fitness: Fitness) -> bool:
        """Make a template of a worker that has loaded a recipe, if it is fit for that."""
        with self._noting, self._lock:
            self._templates.note(need, fitness)
            if fitness.trouble:
                return False
            self._templates.add(Template(self._homes[worker], worker, need, fitness, PARK_SECONDS))
            return True

    def _usable(self, need: Need) -> list[Worker]:
        """The parked workers that a recipe may have, best ones first.

        That leaves out those which would load for themselves what one that is forked of a template has already.
        """
        self._retire()
        attainable = self._templates.attainable(need)
        served = self._templates.serve(attainable)
        usable = [
            # A worker that is still busy for another pipeline would delay this one.
            worker
            for worker in reversed(self._drop_gone())
            if worker.recipe_id == need.recipe_id or (not worker.pending and (worker.has(attainable) or not served))
        ]
        return sorted(usable, key=lambda one: (one.recipe_id != need.recipe_id, not one.has(need), len(one.modules)))

    def _retire(self) -> None:
        """End those that may have imported code that main has no more."""
        for worker in list(self._parked):
            if worker.code != last_code_version() and self._claim(worker):
                worker.kill(0)

    def _claim(self, worker: Worker) -> bool:
        """Take a parked worker out of the pool; False if another caller has done so."""
        return self._parked.pop(worker, False)

    def _spawn(self, count: int, need: Need) -> list[Worker]:
        for attempt in range(_ATTEMPTS):
            if count == 0:
                break
            spawner = self._templates.origin(need, self._ready_spawner())
            started: list[Worker] = []
            try:
                started += spawner.spawn(count)
                for worker in started:
                    self._homes[worker] = spawner
                    if isinstance(spawner, Template):
                        worker.modules, worker.code = spawner.modules, spawner.code
                spawner.finish(started)
            except BaseException as error:
                for worker in started:
                    worker.kill()
                if isinstance(error, NurseryLostError) and isinstance(spawner, Template):
                    self._templates.drop(spawner)
                if not isinstance(error, NurseryLostError) or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return started
        return []

    def park(self, workers: list[Worker]) -> None:
        """Take workers back; they keep their recipe until another one is needed."""
        self._noted.append(partial(self._park, workers))
        self._do_noted()

    def _park(self, workers: list[Worker]) -> None:
        while workers:
            worker = workers.pop(0)
            worker.tell(Park(PARK_SECONDS))
            self._end_unless_done(worker)
            self._parked[worker] = True

    def unload(self, recipe_id: int) -> None:
        """Make parked workers forget a recipe and its ring."""
        self._noted.append(partial(self._unload, recipe_id))
        self._do_noted()

    def _unload(self, recipe_id: int) -> None:
        for worker in list(self._parked):
            if worker.recipe_id == recipe_id and self._claim(worker):
                worker.recipe_id = worker.attached = None
                home = self._homes[worker]
                if home.large and home.recipe_id == recipe_id:
                    worker.kill(0)  # to take to pieces what it shares would first make a copy of it all
                    continue
                worker.tell(Unload())
                worker.tell(Park(PARK_SECONDS))
                self._parked[worker] = True
        self._templates.unload(recipe_id)

    def finish(self, recipe_id: int, seconds: float) -> None:
        """Wait until no parked worker is busy with a recipe; those that still are after ``seconds`` are killed."""
        with self._noting, self._lock:
            busy = [w for w in self._drop_gone() if w.recipe_id == recipe_id and w.pending and self._claim(w)]
        # Not under the lock: other pipelines go on meanwhile.
        for worker in _wait_for(busy, seconds):
            worker.kill()
            busy.remove(worker)
        with self._noting, self._lock:
            self._parked.update((worker, True) for worker in busy if not worker.closed)

    def pids(self, *, parked: bool = True) -> list[int]:
        """The worker processes that live, ``parked`` ones among them or only those that work for a pipeline."""
        with self._noting, self._lock:
            workers = [worker for worker in list(self._homes) if parked or worker not in self._parked]
        return [worker.pid for worker in workers if worker.pid > 0 and not worker.ended()]

    def nursery(self) -> int | None:
        """The process that starts them, if there is one now."""
        with self._noting, self._lock:
            spawner = self._spawner
        return spawner.process.pid if spawner is not None and spawner.alive() else None

    def await_end(self, pids: list[int]) -> None:
        """Wait until worker processes that were killed are dead."""
        with self._noting, self._lock:
            workers = [worker for worker in list(self._homes) if worker.pid in pids]
        for worker in workers:
            worker.ended(_DEATH_SECONDS)

    def exit_status(self, worker: Worker) -> int | None:
        """How a worker that has ended came to its end; None if its nursery has died, and it with that."""
        with self._noting, self._lock:
            home = self._homes.get(worker)
            return home.exit_status(worker.pid) if home is not None else None

    def memory_cause(self, status: int) -> str:
        """What memory has to do with a worker that ended so (see ``shortage``)."""
        with self._noting, self._lock:
            return self._spawner.memory.cause(status) if self._spawner is not None else ""

    def close(self) -> None:
        """End all workers and the nursery."""
        with self._noting, self._lock:
            spawner, self._spawner = self._spawner, None
            self._templates.close()
            if spawner is not None:
                spawner.close()
            self._close_workers()

    def abandon(self) -> None:
        """In a forked child: close what belongs to the parent, without a word to anybody."""
        self._lock = threading.RLock()
        self._close_workers()
        self._noted.clear()  # not before: a worker that nobody has any more is ended, and these are the parent's
        self._templates.abandon()
        if self._spawner is not None:
            self._spawner.abandon()
            self._spawner = None

    def _ready_spawner(self) -> Spawner:
        spawner = self._spawner
        if spawner is not None and not spawner.alive():
            self._spawner = None
            spawner.close()
            spawner = None
        if spawner is None:
            spawner = Spawner()
            if self._spawner is not None:  # a signal handler was quicker
                spawner.close()
                spawner = self._spawner
            self._spawner = spawner
        return spawner

    def _end_unless_done(self, worker: Worker) -> None:
        try:
            worker.discard_answers()
        except Gone:
            pass  # which ``lease`` will notice
        home = self._homes.get(worker)
        if worker.pending and home is not None and worker.pid > 0:
            worker.due = worker.channel.sent
            try:
                home.end_unless_done(worker, GRACE_SECONDS)
            except OSError as error:
                if not (is_gone(error) or isinstance(error, BlockingIOError)):
                    raise  # out of a signal handler

    def _drop_gone(self) -> list[Worker]:
        """Drop those that have left; return the others."""
        reap_dying()
        for worker in list(self._parked):
            if self._claim(worker) and not _gone(worker):
                self._parked[worker] = True
        return list(self._parked)

    def _close_workers(self) -> None:
        """Let go of all, when none is alive any more or all belong to another process."""
        self._parked.clear()
        for worker in list(self._homes):
            worker.close()
        reap_dying()


def _gone(worker: Worker) -> bool:
    try:
        worker.discard_answers()
        gone = worker.ended() or not worker.channel.intact()
    except Gone:
        gone = True
    if gone:
        worker.kill()  # one that has lost its channel may live on
    return gone


def _wait_for(workers: list[Worker], seconds: float) -> list[Worker]:
    """Wait until workers have answered everything or ended; return those that have done neither in time."""
    patience = Patience(seconds)
    while busy := [worker for worker in workers if worker.pending and not _gone(worker) and worker.pending]:
        if patience.over():
            return busy
        readable([worker.channel.fileno() for worker in busy], patience.slice())
    return []


_pool = Pool()


def pool() -> Pool:
    """The pool of this process."""
    return _pool


at_exit(Turn.WORKERS)(_pool.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.abandon)
