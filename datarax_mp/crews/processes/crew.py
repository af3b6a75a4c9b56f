"""The worker processes that serve one epoch: a crew, as ``crews.base`` says.

    submit(assignment) ---> worker.pending ---> answers() ---> (assignment, Done | Failed)
                             |    ^
                      it dies|    |submit, to another worker
                             v    |
                            _again          same run, same slot; the order is pure, so the bytes are the same

A worker that was sent something and has died is no error here: that shows where answers are read.
"""

from __future__ import annotations

import logging
from collections import deque

from datarax_mp.core.errors import WorkerError, WorkerTimeoutError
from datarax_mp.core.patience import Patience
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Abilities, Answer, Assignment, Crew, Job, Member, Shelving
from datarax_mp.crews.blame import whereabouts
from datarax_mp.crews.processes.block_files import BlockFiles, lend
from datarax_mp.crews.processes.crowd import Crowd
from datarax_mp.crews.processes.deaths import Deaths
from datarax_mp.crews.processes.environment import Environment
from datarax_mp.crews.processes.events import Events
from datarax_mp.crews.processes.logs import inbox
from datarax_mp.crews.processes.pool import pool
from datarax_mp.crews.processes.protocol import Attach, Gone, Loaded
from datarax_mp.crews.processes.under_way import fits
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Done, Failed
from datarax_mp.ring import Ring
from datarax_mp.shipping.package import SerializedRecipe

log = logging.getLogger("datarax_mp")

_LEAVING_SECONDS = 1.0  # between the end of a process's channel and its own; far longer than it takes
_DEATH_SECONDS = 5.0  # after SIGKILL, for a run to be done by another one in the same slot


class _Loading:
    def discard(self) -> None:
        """Nothing hangs on it."""


class ProcessCrew(Crew):
    """Leased worker processes with one recipe loaded.

    A worker that dies is replaced, and what it had not finished is done again by others: the order is a pure function,
    so nothing is lost and the stream stays as it is.

    Args:
        recipe: what they do; for the words about it.
        serialized: the same, serialised.
        size: how many workers.
        most: how many there may come to be.
        others: how many workers of another kind there are beside them.
        fewer: whether fewer than ``size`` will do, where so many cannot be started.
        probe: the epoch that begins, if the layout is still to be found; the first worker then finds it while it loads
            the recipe.
        restart: whether a worker that dies is replaced; otherwise its death is an error.
        timeout: seconds to wait for the layout, or None.
        environment: what the workers are to find.
        crowd: decides how many of them get work, where there are more than cores.
        waker: readable when another thread wants this one to stop waiting.
    """

    abilities = Abilities(concurrent=True, times_out=True, grows=True)
    replaced = 0

    def __init__(
        self,
        recipe: Recipe,
        serialized: SerializedRecipe,
        size: int,
        *,
        most: int,
        others: int,
        fewer: bool,
        probe: int | None,
        restart: bool,
        timeout: float | None,
        environment: Environment,
        crowd: Crowd,
        waker: Waker,
    ) -> None:
        self._recipe, self._serialized, self._crowd = recipe, serialized, crowd
        self._most, self._others = most, others
        self._environment, self._inbox = environment, inbox()
        self._probe, self._timeout = probe, timeout
        self._attach: tuple[Ring, Layouts] | None = None
        self._loaded: list[Loaded | Failed] = []
        self._arrived: list[tuple[Job, Answer]] = []
        self._again: deque[Job] = deque()
        self._held: deque[Assignment] = deque()  # for whose worker too much is under way
        self._files = BlockFiles()
        self._deaths = Deaths(recipe, restart=restart)
        self._events = Events(waker, self._inbox)
        self.workers: list[Worker] = []
        try:
            if pool().wants_template(most, serialized.need):
                self._make_template()
            begun = len(self.workers)
            self.workers += self._lease(size - begun, fewer=fewer)
            for index, worker in enumerate(self.workers[begun:], begun):
                self._welcome(worker, probe=probe if index == 0 else None)
        except BaseException:
            self.kill()
            raise

    def layouts(self) -> Layouts:
        """Let a worker read the first record and see what a batch holds.

        Raises:
            Exception: what the source or a stage raised.
            WorkerError: workers died of it, or it took longer than the time limit.
        """
        patience = self._patience()
        while True:
            for loaded in self._loaded:
                if isinstance(loaded, Failed):
                    raise loaded.error.restore()
                if loaded.layouts is not None:
                    return loaded.layouts
            self._turn_within(patience)

    def holds(self, ring: Ring) -> int:
        """How many slots of a ring these workers are still at, for an epoch that was left early."""
        questions = [question for worker in self.workers for question in worker.pending.values()]
        return sum(isinstance(question, Assignment) and question.ring is ring for question in questions)

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Make all workers write to this ring."""
        self._attach = (ring, layouts)
        for worker in self.workers:
            self._send_attach(worker)

    def has_room(self, depth: int) -> bool:
        """Whether some worker has less than ``depth`` jobs in hand."""
        return any(len(worker.pending) < depth for worker in self._crowd.working(self.workers))

    def submit(self, job: Job) -> None:
        """Give a job to the worker with the least to do, or a lane's to the one that has the lane."""
        worker = self._having(job)
        if isinstance(job, Assignment):
            if not fits(worker, job.run):
                self._held.append(job)
                return
            lend(worker, job)
            worker.ask(job, job.run)
        elif (failed := self._files.ask(worker, job, alone=len(self.workers) == 1)) is not None:
            self._arrived.append((job, failed))

    def _having(self, job: Job) -> Worker:
        lane = job.run.lane if isinstance(job, Assignment) else None
        if lane is not None:
            wanted = lane.number % len(self.workers)
            for worker in self.workers:
                if worker.index == wanted:
                    return worker
        return min(self._crowd.working(self.workers), key=lambda worker: len(worker.pending))

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        """Take the answers that have arrived; see ``Crew``."""
        self._turn(0 if self._arrived else seconds)
        arrived, self._arrived = self._arrived, []
        return arrived

    def stuck(self, job: Job | None, seconds: float) -> Exception:
        """Say what the worker does that has a job in hand, and end it.

        Args:
            job: what is waited for; None while the layout is.
            seconds: how long that took.
        """
        at_it = [w for w in self.workers if (job in w.pending.values() if job is not None else w.pending)]
        if job is not None and job in self._held:
            at_it = [self._having(job)]
        if not at_it:
            return WorkerTimeoutError(f"no batch came within {seconds:g} s: all workers are still at an earlier epoch")
        worker = at_it[0]
        doing = whereabouts(worker.sighting(), self._recipe)
        stack = worker.ask_stack() or "(it does not react to signals: stopped, or waiting in the kernel)"
        error = WorkerTimeoutError(
            f"no batch came within {seconds:g} s: {worker} was ended {doing}. Raise timeout= if this may take so long. "
            f"Its Python stack:\n{stack}"
        )
        self._forget(worker)
        worker.kill()
        return error

    def grow(self, size: int) -> None:
        """Have so many workers from now on. One that cannot be started is done without."""
        try:
            more = self._lease(size - len(self.workers))
        except WorkerError as error:
            log.warning("no more workers than %d: %s", len(self.workers), error)
            return
        self.workers += more
        for worker in more:
            self._welcome(worker)
            self._send_attach(worker)

    @property
    def spare(self) -> int:
        """See ``Crew``."""
        return self._crowd.spare(self.workers)

    def members(self) -> list[Member]:
        """The processes."""
        return [Member(worker.pid, worker.board_fd, worker.line) for worker in self.workers]

    def leave(self) -> None:
        """Give the workers back to the pool, with the recipe still loaded."""
        self._inbox.empty()
        self._disown()
        for worker in self.workers:
            if worker.shelf:
                worker.lend({})
        workers, self.workers = self.workers, []
        pool().park(workers)

    def kill(self) -> None:
        """End the workers: something went wrong in the middle of a conversation."""
        self._disown()
        for worker in self.workers:
            worker.end()
        while self.workers:
            self.workers.pop().kill()

    def _lease(self, count: int, *, fewer: bool = False) -> list[Worker]:
        leased = pool().lease(count, self._serialized.need, fewer=fewer)
        for worker in leased:
            if worker.recipe_id != self._serialized.recipe_id:
                worker.index = -1  # it was another pipeline's
        return leased

    def _make_template(self) -> None:
        """Have one process load the recipe, and workers forked of it if that can be done.

        Otherwise it is a worker like the others.
        """
        need = self._serialized.need
        loader = pool().start_one(need)
        self.workers.append(loader)
        self._welcome(loader, template=True)
        patience = self._patience()
        while loader in self.workers and not self._loaded:
            self._turn_within(patience)
        if loader not in self.workers or isinstance(self._loaded[0], Failed):
            return  # it has been replaced, or the others cannot load it, either
        [loaded] = self._loaded
        self._loaded.clear()
        assert isinstance(loaded, Loaded) and loaded.fitness is not None
        if pool().make_template(loader, need, loaded.fitness):
            self._forget(loader)
            return
        trouble = loaded.fitness.trouble
        log.info("each worker loads the recipe for itself: the one that has done so is not forked, as %s", trouble)
        loader.recipe_id = None  # what others were to inherit
        self._welcome(loader, probe=self._probe)

    def _patience(self) -> Patience | None:
        return None if self._timeout is None else Patience(self._timeout)

    def _turn_within(self, patience: Patience | None) -> None:
        """Wait for an event, but not for longer than the first batch may take."""
        if self._timeout is not None and patience is not None and patience.over():
            raise self.stuck(None, self._timeout)
        self._turn(None if patience is None else patience.slice())

    def _disown(self) -> None:
        """Nobody waits for anything any more."""
        for worker in self.workers:
            for question in worker.pending.values():
                if isinstance(question, Job):
                    question.wanted = False
        for waiting in (self._again, self._held):
            while waiting:
                waiting.popleft().discard()
        while self._arrived:
            self._arrived.pop()[0].discard()

    def _turn(self, seconds: float | None) -> None:
        """Wait for an event, and deal with all there are; or until a worker is late."""
        if seconds != 0 and (patience := self._crowd.patience(self.workers)) is not None:
            seconds = patience if seconds is None else min(patience, seconds)
        for worker, descriptor in self._events.wait(seconds):
            if worker not in self.workers:
                continue  # replaced a moment ago, because of its other descriptor
            try:
                self._take(worker)
                gone = descriptor == worker.sentinel
            except Gone:
                gone = True
            if gone:  # what it said before it died has been taken
                self._replace(worker)
        while self._again and self.has_room(2):
            self.submit(self._again.popleft())
        for _ in range(len(self._held)):
            self.submit(self._held.popleft())

    def _take(self, worker: Worker) -> None:
        for question, answer in worker.answers():
            if not isinstance(question, Job):
                self._loaded.append(answer)
                continue
            if isinstance(question, Shelving):
                answer = self._files.answered(question, answer)
            elif isinstance(answer, Done):
                self._crowd.took(answer)
            if question.wanted:
                self._arrived.append((question, answer))
                self._deaths.note_progress()
            else:
                question.discard()

    def _index(self, worker: Worker) -> int:
        """The index that a worker had for this recipe, or one that is free."""
        taken = {other.index for other in self.workers if other is not worker}
        kept = 0 <= worker.index < self._most and worker.index not in taken
        return worker.index if kept else next(index for index in range(self._most) if index not in taken)

    def _welcome(self, worker: Worker, *, probe: int | None = None, template: bool = False) -> None:
        self._events.watch(worker)
        worker.configure(self._environment, self._index(worker), self._most + self._others, self._inbox)
        if probe is not None or worker.recipe_id != self._serialized.recipe_id:
            worker.recipe_id, worker.attached, worker.shelf = self._serialized.recipe_id, None, frozenset()
            worker.modules |= self._serialized.need.modules
            message = self._serialized.message(probe=probe, template=template)
            worker.ask(_Loading(), message, self._serialized.descriptors)

    def _send_attach(self, worker: Worker) -> None:
        assert self._attach is not None
        ring, layouts = self._attach
        assert ring.segment is not None
        if worker.attached == ring.number:
            return  # since the epoch before; mapping it anew would cost a page fault for every page of every slot
        worker.attached = ring.number
        worker.tell(Attach(ring.segment.size, ring.slot_bytes, layouts), (ring.segment.descriptor(),))

    def _forget(self, worker: Worker) -> None:
        self._events.forget(worker)
        self.workers.remove(worker)

    def _replace(self, worker: Worker) -> None:
        """Replace a worker that has died or lost its channel, and put what it had in hand up for others."""
        self._inbox.empty()  # its last words
        self._forget(worker)
        cut_off = not worker.ended(_LEAVING_SECONDS)
        if cut_off:
            worker.end()
        if not worker.ended(_DEATH_SECONDS):
            worker.kill(0)
            raise WorkerError(f"{worker} does not answer any more, and cannot be killed: it waits in the kernel")
        lost = {
            number: question
            for number, question in worker.pending.items()
            if isinstance(question, Job) and question.wanted
        }
        for number, job in lost.items():
            del worker.pending[number]  # it is handed in again, and keeps its slot
            self._again.append(job)  # discarded with the rest when the crew leaves
        try:
            self._deaths.report(worker, list(lost.values()), len(self.workers), cut_off=cut_off)
        finally:
            worker.kill()
        self._put_another(worker.index)

    def _put_another(self, index: int) -> None:
        """Have another worker in the place of one that is gone."""
        try:
            [replacement] = self._lease(1)
        except WorkerError as error:
            self._go_on_without(error)
            return
        self.workers.append(replacement)
        self.replaced += 1
        replacement.index = index
        self._welcome(replacement, probe=self._probe if self._attach is None else None)
        if self._attach is not None:
            self._send_attach(replacement)

    def _go_on_without(self, error: WorkerError) -> None:
        """Leave the work to the others, if there are any: no new process can be started just now."""
        if not self.workers:
            raise error
        log.warning("%d workers go on without another one: %s", len(self.workers), error)
        if self._attach is None:  # the one that is gone may have been asked for the layout
            self._welcome(self.workers[0], probe=self._probe)
