"""The actors of one iterator: a crew, as ``crews.base`` says.

    hire --load--> worker.pending --> ready --(somebody has to read the first record)--> runs
                         |  ^
                it is lost|  |when it is ready
                         v  |
                        _again and a new worker, which is asked for at once and comes when the cluster has room

Work goes to workers that are ready, however many those are.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError, RayTaskError

from datarax_mp.core.errors import WorkerError, WorkerTimeoutError
from datarax_mp.core.patience import Patience
from datarax_mp.core.strays import is_interruption
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Abilities, Answer, Assignment, Closed, Crew, Job
from datarax_mp.crews.blame import whereabouts
from datarax_mp.crews.info import WorkerInfo
from datarax_mp.crews.ray.losses import Losses
from datarax_mp.crews.ray.package import Package
from datarax_mp.crews.ray.worker import Question, Worker
from datarax_mp.crews.ray.workers import RayWorkers
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Failed
from datarax_mp.ring import Ring

log = logging.getLogger("datarax_mp")

_SLICE = 0.1  # seconds of waiting for Ray, which nothing else can end, between two looks at whether to go on
_UNPLACED_SECONDS = 10.0  # without any worker, after which there is a word about it


class RayCrew(Crew):
    """See the module.

    Args:
        recipe: what is done.
        package: the same, in the object store.
        options: where workers are to be.
        hire: gives a worker.
        park: takes it back.
        there: whether it is still the Ray that workers are hired of.
        size: how many workers.
        others: how many of another kind there are beside them.
        epoch: the epoch that begins, if the layouts are still to be found.
        restart: whether a worker that is lost is replaced.
        timeout: seconds to wait for the layouts, or None.
        waker: says when another thread wants this one to stop waiting.
    """

    abilities = Abilities(concurrent=True, times_out=True)

    def __init__(
        self,
        recipe: Recipe,
        package: Package,
        options: RayWorkers,
        hire: Callable[[], Worker],
        park: Callable[[list[Worker]], None],
        there: Callable[[], bool],
        size: int,
        *,
        others: int,
        epoch: int,
        restart: bool,
        timeout: float | None,
        waker: Waker,
    ) -> None:
        self._recipe, self._package, self._options = recipe, package, options
        self._hire, self._park, self._there = hire, park, there
        self._size, self._others = size, others
        self._epoch, self._timeout, self._waker = epoch, timeout, waker
        self._losses = Losses(recipe, restart=restart)
        self._asked: Layouts | Failed | None = None
        self._probing: Worker | None = None
        self._settled: tuple[Layouts, int] | None = None
        self._again: deque[Assignment] = deque()
        self._arrived: list[tuple[Job, Answer]] = []
        self._in_flight = self._latest = 0  # bytes: of all runs that are handed in, and of the latest one
        self._unplaced: float | None = time.monotonic()
        self._left = False
        self._workers: list[Worker] = []
        try:
            for index in range(others, others + size):
                self._welcome(index)
        except BaseException:
            self.kill()
            raise

    @property
    def size(self) -> int:
        """How many workers there are, or are asked for."""
        return self._size

    @property
    def staffed(self) -> bool:
        """Whether a worker is ready."""
        return any(worker.ready for worker in self._workers)

    def layouts(self) -> Layouts:
        """Let the first worker that is there read the first record.

        Raises:
            Exception: what the source or a stage raised.
            WorkerError: workers are lost over it, or it takes longer than the time limit.
        """
        patience = None if self._timeout is None else Patience(self._timeout)
        while self._asked is None:
            if self._probing is None and (ready := self._ready()):
                self._probing = ready[0]
                with self._connected():
                    self._probing.probe(self._epoch)
            self._turn(_SLICE if patience is None else patience.slice())
            if patience is not None and patience.over() and self._asked is None:
                assert self._timeout is not None
                raise self._given_up(self._probing, self._timeout)
        if isinstance(self._asked, Failed):
            raise self._asked.error.restore()
        return self._asked

    def holds(self, ring: Ring) -> int:
        """None: nobody but this process writes to a slot."""
        return 0

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Have workers write as the layouts say; an assignment brings its ring along."""
        self._settled = layouts, ring.slot_bytes
        with self._connected():
            for worker in self._ready():
                worker.settle(*self._settled)

    def has_room(self, depth: int) -> bool:
        """Whether a worker that is ready has less than ``depth`` runs, and another run may be on its way."""
        if self._again or (self._in_flight and self._in_flight + self._latest > self._options.max_bytes_in_flight):
            return False
        return any(worker.ready and len(worker.pending) < depth for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a run to the worker with the least to do, or a lane's to the one that has the lane."""
        assert isinstance(job, Assignment) and self._settled is not None  # blocks are each worker's own, see the engine
        self._latest = self._bytes_of(job)
        self._in_flight += self._latest
        with self._connected():
            self._give(job)

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        """Take what has come, and copy it into its slots; see ``Crew``."""
        self._turn(0 if self._arrived else seconds)
        arrived, self._arrived = self._arrived, []
        return arrived

    def stuck(self, job: Job | None, seconds: float) -> Exception:
        """Say what the worker does that has a job in hand, and end it."""
        held = [worker for worker in self._workers if (job in worker.jobs() if job is not None else worker.pending)]
        if not held and self._ready():
            return WorkerTimeoutError(f"no batch came within {seconds:g} s: all workers are still at an earlier epoch")
        return self._given_up(held[0] if held else None, seconds)

    def leave(self) -> None:
        """Give the workers back, but for those that are not there yet."""
        self._discard()
        for worker in self._workers:
            worker.leave()
        self._give_back()

    def kill(self) -> None:
        """End the workers: something went wrong in the middle of a conversation."""
        while self._workers:
            self._workers.pop().kill()
        self._give_back()

    def surrender(self) -> None:
        """End the workers, which only read; what they had in hand stays as it is."""
        self.kill()

    def _give_back(self) -> None:
        workers, self._workers = self._workers, []
        if not self._left:
            self._left = True
            self._park(workers)

    def _discard(self) -> None:
        for job in [*self._again, *(job for worker in self._workers for job in worker.jobs())]:
            job.discard()
        for given, _ in self._arrived:
            given.discard()
        self._again.clear()
        self._arrived = []

    def _welcome(self, index: int) -> None:
        worker, info = self._hire(), WorkerInfo(index, self._others + self._size)
        self._workers.append(worker)
        if worker.recipe_id != self._package.serialized.recipe_id or worker.info != info:
            worker.load(self._package, info)

    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready]

    def _bytes_of(self, job: Assignment) -> int:
        assert self._settled is not None
        return job.run.steps * self._settled[0].delivered.block_bytes

    def _give(self, job: Assignment) -> None:
        ready, lane = self._ready(), job.run.lane
        if lane is not None:
            ready[lane.number % len(ready)].perform(job)
        else:
            min(ready, key=lambda worker: len(worker.pending)).perform(job)

    def _turn(self, seconds: float | None) -> None:
        """Take the answers that are there, or wait for one for so many seconds."""
        with self._connected():
            for worker in self._answering(seconds):
                self._take(worker)
            while self._again and self._ready():
                self._give(self._again.popleft())

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Around calls of Ray: that it was shut down is an error of its own, and no call is to begin it anew."""
        if not self._there():
            raise _shut_down()
        try:
            yield
        except (WorkerError, Closed):
            raise
        except Exception as error:
            if self._there() or is_interruption(error):
                raise
            raise _shut_down() from error

    def _answering(self, seconds: float | None) -> list[Worker]:
        """The workers whose next answer has come."""
        if self._waker.woken:
            raise Closed
        heads = {worker.pending[0].ref: worker for worker in self._workers if worker.pending}
        if not heads:
            return []
        refs = list(heads)
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        ends = None if seconds is None else time.monotonic() + seconds
        while not ready and (ends is None or (left := ends - time.monotonic()) > 0):
            ready, _ = ray.wait(refs, timeout=_SLICE if ends is None else min(left, _SLICE))
            if self._waker.woken:
                raise Closed
            if not self._there():
                raise _shut_down()
            self._tell_unplaced()
        return [heads[ref] for ref in ready]

    def _take(self, worker: Worker) -> None:
        question = worker.pending[0]
        try:
            answer = ray.get(question.ref)
        except RayTaskError as error:  # not the user's code: that comes in a Failed
            raise WorkerError(
                f"{worker} cannot work. datarax_mp, Ray and Python must be the same there as here, and what source and "
                f"stages import has to be there, too (see RayWorkers(runtime_env=)): {error}"
            ) from error
        except RayError as error:
            self._lost(worker, error)
            return
        worker.pending.popleft()
        worker.left = []
        if question.job is None:
            self._greet(worker, answer)
        else:
            self._finished(question, answer)

    def _finished(self, question: Question, answer: tuple[Answer, memoryview]) -> None:
        job, (outcome, memory) = question.job, answer
        assert job is not None
        start = job.run.slot * job.ring.slot_bytes
        job.ring.memory[start : start + memory.nbytes] = memory
        self._in_flight -= self._bytes_of(job)
        self._losses.note_progress()
        self._arrived.append((job, outcome))

    def _greet(self, worker: Worker, answer: str | Layouts | Failed) -> None:
        """A worker has loaded the recipe, or has read the first record."""
        if worker is self._probing:
            assert not isinstance(answer, str)
            self._asked, self._probing = answer, None
            return
        if isinstance(answer, Failed):
            raise answer.error.restore()
        assert isinstance(answer, str)
        worker.ready, worker.where, self._unplaced = True, answer, None
        if self._settled is not None:
            worker.settle(*self._settled)

    def _lost(self, worker: Worker, error: Exception) -> None:
        """A worker is gone: what it had in hand is for others, and a new one is asked for."""
        if not self._there():
            raise _shut_down() from error
        jobs = worker.jobs()
        self._workers.remove(worker)
        worker.kill()
        if worker is self._probing:
            self._probing = None
        self._losses.report(worker, jobs, error, self._size)
        self.replaced += 1
        self._again.extend(jobs)
        self._welcome(worker.info.index)

    def _tell_unplaced(self) -> None:
        if self._unplaced is None or time.monotonic() - self._unplaced < _UNPLACED_SECONDS:
            return
        self._unplaced = None
        log.warning(
            "no Ray actor has come to work for %g s. Each asks for num_cpus=%g, resources=%s; the cluster has %s, of "
            "which %s is free. They begin when there is room",
            *(_UNPLACED_SECONDS, self._options.num_cpus, self._options.resources),
            *(_amounts(ray.cluster_resources()), _amounts(ray.available_resources())),
        )

    def _given_up(self, worker: Worker | None, seconds: float) -> WorkerTimeoutError:
        if worker is None or not worker.ready:
            return WorkerTimeoutError(
                f"no batch came within {seconds:g} s: no Ray actor has loaded the source and the stages. Each asks for "
                f"num_cpus={self._options.num_cpus:g}, resources={self._options.resources}; the cluster has "
                f"{_amounts(ray.cluster_resources())}"
            )
        looked = worker.look()
        worker.kill()
        self._workers.remove(worker)
        doing = "and does not say what it is at" if looked is None else whereabouts(looked[0], self._recipe)
        stack = "" if looked is None else f". Its Python stack:\n{looked[1]}"
        return WorkerTimeoutError(
            f"no batch came within {seconds:g} s: {worker} was ended {doing}. Raise timeout= if this may take so long"
            + stack
        )


def _shut_down() -> WorkerError:
    return WorkerError(
        "Ray was shut down while its actors worked for this epoch (by ray.shutdown(), say). Go on from the pipeline's "
        "state: the next iterator asks for actors anew"
    )


def _amounts(resources: dict[str, float]) -> str:
    """The resources that people ask for, as text."""
    named = {name: amount for name, amount in resources.items() if not name.startswith(("node:", "object_store"))}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(named.items()) if name != "memory") or "nothing"
