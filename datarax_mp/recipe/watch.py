"""How long the parts of a run take: of many runs one is looked at closely, by whoever does it.

    here.line      | handled | epoch | step | at |        what everybody writes to
        |
      Watch        notes when, for the threads that asked      ---->  Timed, in the answer of the run

A close look takes the place of the line for as long as the run lasts, so that all other runs pay one comparison. It
comes after a pause that is at least 400 times as long as the CPU time that it has cost: less than half a percent.
The times of a run that is looked at are exact, every record of it; which run that is, the clock says and not the run.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from datarax_mp.core.series import Series
from datarax_mp.recipe.recorder import AT, STEP, Line, Phase, Recorder, here, part_of

Part: TypeAlias = tuple[Phase, int]
Marks: TypeAlias = list[tuple[int, int]]  # nanoseconds, and what was written: ``at``, or ``~step``

_FIRST_PAUSE = 0.01  # seconds; the pauses double up to the longest one, so that a short program is looked at as well
_LONGEST_PAUSE = 0.25
_WORTH = 400  # how much longer than a look a pause is, at least
_MARK_SECONDS = 0.5e-6  # what a mark costs the run
_MOST_MARKS = 20_000  # of one run: 1.5 MB


class Look:
    """A run that is being looked at closely.

    Attributes:
        marks: what has been noted: nanoseconds, and ``at`` or ``~step``.
        computed: seconds for which the thread has had a core, before.
        starved: seconds for which it was ready and has had none, before.
    """

    __slots__ = ("computed", "marks", "starved")

    def __init__(self) -> None:
        self.marks: Marks = []
        self.computed, self.starved = time.thread_time(), starved()


class Timed(NamedTuple):
    """A run that was looked at closely.

    Attributes:
        process: the process that has done it.
        thread: the system's number of the thread that has done it; of a worker process, the process's.
        seconds: how long it took.
        computed: how long it had a core meanwhile.
        starved: how long it waited for one, where the system says so; what is left it waited for a disk, say.
        idle: seconds between the end of the run before and its begin, or None if there was none.
        sent: seconds that it took to send the answer of the last run that was looked at, or None.
        parts: how long each reading, stage and writing took.
        retried: how often reading was tried again in this process since this was last told.
        hits: how many records came out of a cache, as above.
        misses: how many a cache did not have.
        marks: all that was noted, where it is wanted for a trace: (nanoseconds, ``at`` or ``~step``); with the end of
            the run as the last one.
    """

    process: int
    thread: int
    seconds: float
    computed: float
    starved: float
    idle: float | None
    sent: float | None
    parts: dict[Part, Series]
    retried: int
    hits: int
    misses: int
    marks: Marks


class Watch:
    """A line that notes when it is written to; see the module. There is one in a process.

    Args:
        recorder: whose line it takes the place of.
        computing: CPU seconds of the calling thread, by which it says what a look has cost.

    Attributes:
        sent: seconds that it took to send the answer of a run that was looked at, to be told with the next one.
    """

    def __init__(self, recorder: Recorder, computing: Callable[[], float] = time.thread_time) -> None:
        self._recorder, self._computing = recorder, computing
        self._line: Line = recorder.line
        self._looks: dict[int, Look] = {}  # by thread
        self._due = self._pause = 0.0
        self.sent: float | None = None

    def __getitem__(self, cell: int) -> int:
        return self._line[cell]

    def __setitem__(self, cell: int, value: int) -> None:
        self._line[cell] = value
        if cell in (AT, STEP):
            look = self._looks.get(threading.get_ident())
            if look is not None and len(look.marks) < _MOST_MARKS:
                look.marks.append((time.perf_counter_ns(), value if cell == AT else ~value))

    def begin(self, now: float, closely: bool) -> Look | None:
        """A run begins in this thread: the look at it, or None if there is none.

        Args:
            now: seconds, by ``time.perf_counter``.
            closely: whether it has to be looked at.
        """
        if now < self._due and not closely:
            return None
        if not self._pause:  # a process's first run is about imports and cold files
            self._pause = _FIRST_PAUSE
            self._due = now + self._pause
            if not closely:
                return None
        self._due = now + self._pause  # no other thread meanwhile
        look = self._looks[threading.get_ident()] = Look()
        if self._recorder.line is not self:
            self._line, self._recorder.line = self._recorder.line, self
        return look

    def leave(self, look: Look) -> bool:
        """The run is over; whether all of it was noted. Nobody else may have begun one in the middle of it."""
        thread = threading.get_ident()
        whole = self._looks.get(thread) is look
        if whole:
            del self._looks[thread]
        if not self._looks:
            self._recorder.line = self._line
        return whole

    def timed(self, look: Look | None, ended: float, seconds: float, idle: float | None, *, keep: bool) -> Timed:
        """What comes of a look, and what else there is to tell.

        Args:
            look: the look, at a run that was left; or None, if there was none.
            ended: when it ended.
            seconds: how long it took.
            idle: see ``Timed``.
            keep: whether the marks are wanted.
        """
        recorder = self._recorder
        counts = recorder.retried, recorder.hits, recorder.misses
        recorder.retried = recorder.hits = recorder.misses = 0
        thread = threading.get_native_id()
        if look is None:
            return Timed(os.getpid(), thread, seconds, 0.0, 0.0, None, None, {}, *counts, [])
        began = self._computing()
        computed, waited, marks = time.thread_time() - look.computed, starved() - look.starved, look.marks
        marks.append((int(ended * 1e9), 0))
        parts = summary(marks)
        cost = self._computing() - began + len(marks) * _MARK_SECONDS
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._due = ended + max(self._pause, _WORTH * cost)
        sent, self.sent = self.sent, None
        return Timed(os.getpid(), thread, seconds, computed, waited, idle, sent, parts, *counts, marks if keep else [])


def summary(marks: Marks) -> dict[Part, Series]:
    """How long everything lasted that marks tell of: each until the next one. What comes twice in a row is one.

    >>> recorder = Recorder()
    >>> recorder.read(7)
    >>> found = summary([(0, ~5), (0, 0), (1_000_000, recorder.line[AT]), (4_000_000, 0)])
    >>> [(part[0].name, round(series.total, 4)) for part, series in found.items()]
    [('READING', 0.003)]
    """
    found: dict[Part, Series] = {}
    for part, began, ended in spans(marks):
        if part[0] != Phase.IDLE:
            if (series := found.get(part)) is None:
                series = found[part] = Series()
            series.add((ended - began) * 1e-9)
    return found


def spans(marks: Marks) -> list[tuple[Part, int, int]]:
    """The parts that marks tell of, each with its begin and end in nanoseconds; before a step's first, ``IDLE``."""
    found: list[tuple[Part, int, int]] = []
    now: Part | None = None
    began, stepping = 0, False
    for when, value in marks:
        if value < 0:  # a step begins; what follows is the cell without the record
            part, stepping = part_of(0), True
        elif stepping:
            stepping = False
            continue
        else:
            part = part_of(value)
        if part == now:
            continue
        if now is not None:
            found.append((now, began, when))
        now, began = part, when
    return found


def starved() -> float:
    """Seconds for which this thread was ready to run and had no core, since it began; 0 where nobody tells.

    The kernel's ``sched-stats``: /proc/PID/schedstat.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1]) * 1e-9
    except OSError as error:
        if error.errno is None:  # out of a signal handler
            raise
        return 0.0


watch = Watch(here)
