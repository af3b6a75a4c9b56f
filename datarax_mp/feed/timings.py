"""Where the time of a stream goes, as a feed sees it: who waits for whom, run by run.

    caller away ---- came: next run wanted ---- waited ---- left with it ---- away ....
    worker      ---- made: the run's own seconds, as its answer says, and now and then what they consist of

A clock is looked at once a run, not once a batch, so that this costs nothing to speak of where batches are small. One
thread writes; whoever reads copies numbers that only grow.
"""

from __future__ import annotations

import dataclasses
import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from datarax_mp.core.series import Series
from datarax_mp.crews.base import Crew, Member
from datarax_mp.recipe.watch import Part, Timed
from datarax_mp.recipe.work import Done

Found = TypeVar("Found")
Steps: TypeAlias = tuple[tuple[int, int], ...]  # epoch and step of each

_BEAT = 0.5  # seconds
_THREADS = 64  # of which there are figures: a process may have thousands of workers, one after the other
_KEPT = 128  # figures of earlier moments: a minute


@dataclass(slots=True)
class Figures:
    """What has been seen up to a moment, or between two.

    Attributes:
        waited: seconds that the caller waited for a batch.
        away: seconds between two batches that it was away: its own step, and what is done with a batch on the way.
        first: seconds waited for the first batches, which say more about the start than about the stream.
        own: seconds of the caller's own step, of some.
        moved: seconds that it took to bring a batch to its place, of some.
        handed: seconds that it took to hand one over where more is to be done then, of some.
        made: seconds that a worker took for a batch.
        blocks: seconds that a worker took to read a block of the source for all of them.
        full: seconds for which a worker had room for a run and all slots were taken.
        idle: seconds that a worker had nothing to do before a run, of those that were looked at.
        sent: seconds that a worker took to send its answer, of some runs.
        looked: seconds of the runs that were looked at.
        parts: how long each reading, stage and writing took in runs that were looked at.
        threads: by thread, the runs that were looked at; of the newest threads.
        thread_parts: by thread and part, how long each took there.
        computed: seconds for which workers had a core in runs that were looked at.
        starved: seconds for which they waited for one.
        own_computed: seconds for which this process, all its threads together, had a core.
        lasted: seconds that this took.
        batches: batches that were given.
        rows: records in the batches that were brought to their place.
        copied: batches that were copied, because the caller held too many.
        retried: how often reading was tried again.
        hits: records that came out of a cache.
        misses: records that a cache did not have.
        replaced: workers that died and were replaced.
    """

    waited: Series = field(default_factory=Series)
    away: Series = field(default_factory=Series)
    first: Series = field(default_factory=Series)
    own: Series = field(default_factory=Series)
    moved: Series = field(default_factory=Series)
    handed: Series = field(default_factory=Series)
    made: Series = field(default_factory=Series)
    blocks: Series = field(default_factory=Series)
    full: Series = field(default_factory=Series)
    idle: Series = field(default_factory=Series)
    sent: Series = field(default_factory=Series)
    looked: Series = field(default_factory=Series)
    parts: dict[Part, Series] = field(default_factory=dict)
    threads: dict[int, Series] = field(default_factory=dict)
    thread_parts: dict[tuple[int, Part], Series] = field(default_factory=dict)
    computed: float = 0.0
    starved: float = 0.0
    own_computed: float = 0.0
    lasted: float = 0.0
    batches: int = 0
    rows: int = 0
    copied: int = 0
    retried: int = 0
    hits: int = 0
    misses: int = 0
    replaced: int = 0

    def copied_out(self) -> Figures:
        """What they are just now; any thread may ask."""
        return Figures(**{one.name: _copy(getattr(self, one.name)) for one in dataclasses.fields(Figures)})

    def since(self, earlier: Figures) -> Figures:
        """What has come since an earlier moment."""
        names = [one.name for one in dataclasses.fields(Figures)]
        return Figures(**{name: _since(getattr(self, name), getattr(earlier, name)) for name in names})


class Tracer(Protocol):
    """What notes all that is done, for as long as somebody wants that."""

    def waiting(self, take: Callable[[], Found]) -> Found:
        """Wait for a run by calling ``take``."""
        ...

    def taking(self, steps: Steps) -> AbstractContextManager[object]:
        """Around bringing the batch of one step, or of several, to its place."""
        ...

    def handing(self, steps: Steps) -> AbstractContextManager[object]:
        """Around handing it over."""
        ...

    def stepped(self, steps: Steps, seconds: float) -> None:
        """The caller is through with it, after so many seconds."""
        ...

    def finish(self) -> None:
        """Nobody wants that any more."""
        ...


class Timings(Figures):
    """What a pipeline's feeds have seen, over all its epochs, and what it was some time ago.

    Attributes:
        state: since when a feed waits for a run, since when its caller is away with one, by its clock, and how many
            batches there were; whoever wants to see that from elsewhere gives it another place.
        crew: who works, or has worked last.
        listeners: called when there are other workers, and twice a second in the thread that takes batches, as long as
            it does; each by what it is there for, since a newer one takes the place of an older one.
        tracer: notes all that is done, for which all runs are looked at closely; None if nobody wants that.
        start: seconds that the pipeline's very first batch has taken, by part: "filters" (a pass over the source),
            "workers" (starting them and sending them what they need), "loading" (what they import), "record" (the
            first one, read and through the stages), "batch".
    """

    def __init__(self) -> None:
        super().__init__()
        self.state: memoryview[float] | list[float] = [0.0, 0.0, 0.0]
        self.crew: weakref.ref[Crew] | None = None
        self.listeners: dict[str, Callable[[], object]] = {}
        self.tracer: Tracer | None = None
        self.start: dict[str, float] = {}
        self._steps = 0  # of the run that the caller is away with
        self._due = 0.0
        self._told: tuple[int, set[Member]] | None = None  # in which process, of which workers
        self._computed: tuple[float, float] | None = None  # by this process, and at what time
        self._earlier: deque[tuple[float, Figures]] = deque(maxlen=_KEPT)

    def opening(self, crew: Crew, now: float) -> None:
        """A crew gets ready to work.

        Of workers that it was told of a moment ago nobody hears again: an epoch's first batch would wait for what that
        takes, which is longer than all the rest.
        """
        self.crew, told = weakref.ref(crew), (os.getpid(), set(crew.members()))
        if now >= self._due or told != self._told:
            self._told = told
            self._tell()

    def _tell(self) -> None:
        for listener in list(self.listeners.values()):
            listener()

    def begin(self) -> None:
        """A feed begins: its first batch is waited for while workers start."""
        self._steps, self._computed = 0, None

    def gave(self, *, away: float, waited: float, done: Done, steps: int, now: float) -> None:
        """The caller has come back after some seconds, and has got a run after some more.

        Args:
            away: seconds since it left with the run before.
            waited: seconds until it had this one.
            done: this one's answer.
            steps: how many batches are in it.
            now: seconds, by the clock that all of this was taken with.
        """
        if self._steps:
            self.away.add(away / self._steps, self._steps)
            self.waited.add(waited / steps, steps)
        else:
            self.first.add(waited)
            self.start.setdefault("batch", waited)
        self.made.add(done.seconds / steps, steps)
        self.batches += steps
        self.state[2] = self.batches
        self._steps = steps
        if done.timed is not None:
            self._looked_at(done.timed)
        if now >= self._due and self.batches > steps:  # the very first batch does not wait for what it takes to tell
            self._due = now + _BEAT
            self._compute(now)
            self._earlier.append((now, self.copied_out()))
            self._tell()

    def _compute(self, now: float) -> None:
        computed = time.process_time()
        if self._computed is not None:
            self.own_computed += computed - self._computed[0]
            self.lasted += now - self._computed[1]
        self._computed = computed, now

    def _looked_at(self, timed: Timed) -> None:
        self.retried += timed.retried
        self.hits += timed.hits
        self.misses += timed.misses
        if not timed.parts:
            return
        thread = timed.thread
        if timed.idle is not None:
            self.idle.add(timed.idle)
        if timed.sent is not None:
            self.sent.add(timed.sent)
        self.computed += timed.computed
        self.starved += timed.starved
        self.looked.add(timed.seconds)
        if thread not in self.threads and len(self.threads) >= _THREADS:
            self._forget(next(iter(self.threads)))
        self.threads.setdefault(thread, Series()).add(timed.seconds)
        for part, series in timed.parts.items():
            self.parts.setdefault(part, Series()).join(series)
            self.thread_parts.setdefault((thread, part), Series()).join(series)

    def _forget(self, thread: int) -> None:
        del self.threads[thread]
        for key in [key for key in self.thread_parts if key[0] == thread]:
            del self.thread_parts[key]

    def last(self, seconds: float) -> Figures:
        """What has come since about so many seconds before the newest run, at most a minute; any thread may ask."""
        now, earlier = self.copied_out(), list(self._earlier)
        if not earlier:
            return now
        wanted = earlier[-1][0] - seconds
        before = [figures for when, figures in earlier if when <= wanted]
        return now.since(before[-1]) if before else now if len(earlier) < _KEPT else now.since(earlier[0][1])


def _copy(value: Any) -> Any:
    if isinstance(value, Series):
        return value.copy()
    return {key: series.copy() for key, series in value.copy().items()} if isinstance(value, dict) else value


def _since(now: Any, earlier: Any) -> Any:
    if isinstance(now, Series):
        return now.since(earlier)
    if isinstance(now, dict):
        later = {key: series.since(earlier.get(key, Series())) for key, series in now.items()}
        return {key: series for key, series in later.items() if series.count}
    return now - earlier
