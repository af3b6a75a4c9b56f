"""The first batches, made by one thread and then by several at once, to see whether they disturb each other.

    time  ------------------------------------------------------------------>
    threads   [ first record ] [ one makes batches ] [ several make batches ]
    sampler        starts ....... looks ............... looks
                                                   ^                         ^
                             has the code kept something?       are these the same bytes?

What is made is thrown away; its memory is the trial's own.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterator

from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.strays import claimed
from datarax_mp.core.waker import Waker
from datarax_mp.crews.auto.kept import Kept
from datarax_mp.crews.auto.sampler import Sampler, Seen
from datarax_mp.crews.auto.verdict import Verdict, judge
from datarax_mp.crews.base import Answer, Assignment, Job
from datarax_mp.crews.threads.crew import ThreadCrew
from datarax_mp.crews.threads.engine import ThreadEngine
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.randomness import can_glance, glance, put_back
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.user_code import UserCode, listeners
from datarax_mp.recipe.work import Done, Failed, Run
from datarax_mp.ring import Ring

MOST_THREADS = 8  # at once
_SECONDS = 0.8  # for all of it, but for a batch that was begun
_FIRST_SECONDS = 0.5  # for the first record
_ALONE_SECONDS = 0.12
_TOGETHER_SECONDS = 0.25
_END_SECONDS = 0.1  # for the batches that threads are at, at the end
_DRAWN_SECONDS = 2.0  # the same where they draw from main's generators, which are to be as they were
_TURN_SECONDS = 0.02
_GOOD_SECONDS = 0.004  # of a run, see ``feed.run_length``
_MOST_STEPS = 64
_RUN_BYTES = 1 << 22
_COMPARED = 4  # runs

_NS = 1_000_000_000


def attempt(recipe: Recipe, epoch: int, *, threads: int, timeout: float | None, waker: Waker) -> Verdict:
    """Try threads.

    Args:
        recipe: what they do; the source and the stages are theirs to change.
        epoch: of which they make batches.
        threads: how many at once.
        timeout: seconds that the first record may take, or None.
        waker: used when another thread wants this one to stop.

    Raises:
        Closed: it has been used.
        WorkerError: there can be no thread.
    """
    first = _FIRST_SECONDS if timeout is None else min(timeout, _FIRST_SECONDS)
    end = time.monotonic() + _SECONDS
    engine = ThreadEngine(recipe, threads, timeout=first)
    trial = _Trial(recipe, epoch, threads, end)
    try:
        with put_back(quick=False):  # and not before the last thread is through, if it can be had
            try:
                return trial.run(engine, waker)
            finally:
                engine.finish(time.monotonic() + (_DRAWN_SECONDS if trial.drew else _END_SECONDS))
    finally:
        engine.close()


class _Trial:
    def __init__(self, recipe: Recipe, epoch: int, threads: int, end: float) -> None:
        self._recipe, self._epoch, self._threads, self._end = recipe, epoch, threads, end
        order = recipe.order
        self._first, self._stop = order.first(epoch), order.steps(epoch)
        self._steps = 1  # of a run
        self._trouble: str | None = None
        self.drew = False
        self._made: dict[tuple[int, int], int] = {}  # checksums of what one thread has made, by step and steps

    def run(self, engine: ThreadEngine, waker: Waker) -> Verdict:
        """Go through with it."""
        drawn = glance() if can_glance() else None
        try:  # before it is noted what the code keeps: every epoch is told, and by one thread
            UserCode.tell(listeners(self._recipe.source, self._recipe.stages), self._epoch)
        except Exception as error:
            if not claimed(error):
                raise
            return Verdict("processes", f"a set_epoch raises {_named(error)}")
        kept = Kept(self._recipe)
        if (what := kept.shared()) is not None:
            return Verdict("processes", f"the code has {what}, which threads would share")
        if self._stop <= self._first:
            return Verdict("processes", "there are no batches to try")
        try:
            sampler = Sampler()
        except OSError as error:
            if not is_refusal(error):
                raise
            return Verdict("processes", f"nobody can look at threads here ({error})")
        with sampler:
            crew = engine.crew(self._epoch, size=1, probe=True, waker=waker)
            try:
                verdict = self._with(crew, sampler, kept)
                self.drew = drawn is not None and self._recipe.user_code and glance() != drawn
                if self.drew:
                    verdict = Verdict("processes", "the code draws from a global random generator, which threads share")
            except BaseException:
                crew.kill()
                raise
            crew.leave()
        return verdict

    def _with(self, crew: ThreadCrew, sampler: Sampler, kept: Kept) -> Verdict:
        layouts = crew.probed()
        if layouts is None:
            return Verdict("processes", "the first record takes long")
        if isinstance(layouts, Failed):
            return Verdict("processes", f"the first record raises {_named(layouts.error.restore())} in a thread")
        if layouts.draws:
            return Verdict("processes", "the code draws from a global random generator, which threads share")
        ring = self._ring(layouts)
        crew.attach(ring, layouts)
        sampler.add(crew.members()[0].thread)
        began, looking = time.monotonic_ns(), 0

        def alone() -> bool:
            nonlocal looking
            if not looking and sampler.looking():
                looking = time.monotonic_ns()
            return sampler.lost() or (bool(looking) and time.monotonic_ns() - looking > _ALONE_SECONDS * _NS)

        self._drive(crew, ring, self._runs(), alone)
        between = time.monotonic_ns()
        if (name := kept.changed()) is not None:
            self._trouble = f"{name} changes while records are read, and threads would share it"
        if self._trouble is None and sampler.lost():
            self._trouble = "this system does not say which threads are at work (/proc/self/task)"
        if self._trouble is not None:
            return Verdict("processes", self._trouble)
        crew.grow(self._threads)
        for member in crew.members()[1:]:
            sampler.add(member.thread)
        again = itertools.chain((Run(self._epoch, *which, 0) for which in list(self._made)), self._runs())
        until = time.monotonic_ns() + int(_TOGETHER_SECONDS * _NS)
        self._drive(crew, ring, again, lambda: time.monotonic_ns() > until)
        if (name := kept.changed()) is not None:
            self._trouble = f"{name} changes while records are read, and threads would share it"
        if self._trouble is not None:
            return Verdict("processes", self._trouble)
        ended, seen = time.monotonic_ns(), sampler.seen()
        grown = len(crew.members())
        return judge(_within(seen, began, between), _within(seen, between, ended), grown)

    def _ring(self, layouts: Layouts) -> Ring:
        block = layouts.delivered.block_bytes
        self._most_steps = max(1, min(_MOST_STEPS, _RUN_BYTES // block, self._stop - self._first))
        self._block_bytes = block
        return Ring(2 * self._threads, self._most_steps * block, shared=False)

    def _runs(self) -> Iterator[Run]:
        """The first steps of the epoch, and again from its beginning if it is short."""
        step = self._first
        while True:
            steps = min(self._steps, self._stop - step)
            yield Run(self._epoch, step, steps, 0)
            step = step + steps if step + steps < self._stop else self._first

    def _drive(self, crew: ThreadCrew, ring: Ring, runs: Iterator[Run], over: Callable[[], bool]) -> None:
        """Keep threads at work until it is over, one way or another."""
        while not over() and self._trouble is None and time.monotonic() < self._end:
            while crew.has_room(2) and (slot := ring.acquire()) is not None:
                crew.submit(Assignment(next(runs)._replace(slot=slot), ring))
            for job, answer in crew.answers(_TURN_SECONDS):
                self._came(job, answer)
                job.discard()

    def _came(self, job: Job, answer: Answer) -> None:
        assert isinstance(job, Assignment)
        if isinstance(answer, Failed):
            self._trouble = f"making the first batches raises {_named(answer.error.restore())} in a thread"
            return
        assert isinstance(answer, Done)
        which = job.run.step, job.run.steps
        if which in self._made or len(self._made) < _COMPARED:
            made = self._checksum(job, answer)
            if self._made.setdefault(which, made) != made:
                self._trouble = "the same batch came out in two ways, in one thread and in several at once"
        if answer.seconds < _GOOD_SECONDS / 2 and job.run.steps == self._steps:
            self._steps = min(2 * self._steps, self._most_steps)

    def _checksum(self, job: Assignment, answer: Done) -> int:
        """Of all that is in the batches; of those with skipped records or fewer rows, what is beside the arrays."""
        run, written, order = job.run, answer.written, self._recipe.order
        checksum = 0
        for info in written.infos:
            checksum = zlib.crc32(info or b"", checksum)
        full = all(order.rows(run.epoch, run.step + place) >= self._recipe.rows for place in range(run.steps))
        if not full or written.skips or written.shapes:
            return checksum
        start = run.slot * job.ring.slot_bytes
        return zlib.crc32(memoryview(job.ring.memory)[start : start + run.steps * self._block_bytes], checksum)


def _within(seen: list[Seen], since: int, until: int) -> list[int]:
    return [look.working for look in seen if since <= look.at < until]


def _named(error: BaseException) -> str:
    return f"{type(error).__name__} ({str(error).partition(chr(10))[0][:100]})"
