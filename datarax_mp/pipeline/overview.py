"""How a pipeline goes, for whoever asks: its user, or another process. It may be dropped while an iterator goes on."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datarax_mp.core.descriptors import identity
from datarax_mp.crews.choose import kind_of
from datarax_mp.crews.info import worker_info
from datarax_mp.feed.timings import Figures
from datarax_mp.monitoring.hints.look import Look
from datarax_mp.monitoring.hints.teller import Teller
from datarax_mp.monitoring.live import live
from datarax_mp.monitoring.log_line import LogLine
from datarax_mp.monitoring.stats import Stats
from datarax_mp.monitoring.trace import Trace
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.skips import Skips
from datarax_mp.ring.limits import room
from datarax_mp.stages.base import Rank

_LAST = 5.0  # seconds
_VARIABLE = "DATARAX_MP_TRACE"
_TRACED = 200  # steps, where that variable wants a trace
_traces = itertools.count(1)  # that it has wanted


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that there is to say.

    Attributes:
        config: the pipeline's arguments.
        course: where it stands.
        skips: what it has left out.
        iterators: those that may be at work.
    """

    config: Config
    course: Course
    skips: Skips
    iterators: Iterable[PipelineIterator[Any]]

    @property
    def kind(self) -> str:
        """Of which kind the workers are; "none" where there are none, "auto" as long as that is to be found out."""
        if not self.config.options.num_workers:
            return "none"
        kind, verdict = kind_of(self.config.options.workers), self.course.decision.verdict
        return kind if kind != "auto" or verdict is None else verdict.kind

    def stats(self, last: float | None = None) -> Stats:
        """See ``Pipeline.stats``."""
        timings = self.course.timings
        return self.stats_of(timings.copied_out() if last is None else timings.last(last))

    def stats_of(self, figures: Figures) -> Stats:
        """What follows from figures."""
        crew = None if (known := self.course.timings.crew) is None else known()
        working = 0 if crew is None else crew.size
        return Stats.of(
            figures,
            stages=self.course.stage_names,
            batch_bytes=self.course.block_bytes,
            workers=working or self.config.options.num_workers,
            spare=0 if crew is None else crew.spare,
            kind=self.kind,
            why="" if (verdict := self.course.decision.verdict) is None else verdict.why,
            skipped=self.skips.count,
            rings=[ring.filled() for iterator in list(self.iterators) if (ring := iterator.ring) is not None],
            start=self.course.timings.start,
        )

    def log_every(self, seconds: float, name: str) -> None:
        """See ``Pipeline.log_every``."""
        line = LogLine(seconds, name)
        self.listen("log", lambda overview: line.tell(overview.course.timings.copied_out(), overview.stats_of))

    def listen(self, purpose: str, listener: Callable[[Overview], object]) -> None:
        """Have a listener told when there are other workers, and twice a second while batches are taken.

        As long as anybody has the pipeline or one of its iterators; this keeps neither.

        Args:
            purpose: what it is there for; whoever listened for that before is told no more.
            listener: is told.
        """
        config, skips, iterators, known = self.config, self.skips, self.iterators, weakref.ref(self.course)

        def tell() -> None:
            course = known()
            if course is not None:
                listener(Overview(config, course, skips, iterators))

        self.course.timings.listeners[purpose] = tell

    def look(self) -> Look:
        """What hints go by."""
        config, course = self.config, self.course
        return Look(
            stats=self.stats(),
            source=course.source,
            by_record=any(stage.rank is Rank.RECORD for stage in config.host),
            batch_size=config.batch_size,
            layouts=course.layouts,
            room=room(),
        )

    def trace(self, path: str, steps: int) -> None:
        """See ``Pipeline.trace``."""
        timings, course = self.course.timings, weakref.ref(self.course)
        if timings.tracer is not None:
            raise RuntimeError("another trace of this pipeline is being made; it ends after its steps, or with close()")

        def stages() -> list[str]:
            return [] if (known := course()) is None else known.stage_names

        def over() -> None:
            timings.tracer = None

        timings.tracer = Trace(path, steps, stages, over)
        for iterator in list(self.iterators):
            iterator.time_all()

    def end(self) -> None:
        """The pipeline is closed."""
        if (tracer := self.course.timings.tracer) is not None:
            tracer.finish()
        live.forget(self.course)

    def described(self) -> dict[str, Any]:
        """What ``python -m datarax_mp top`` shows of it, as plain JSON values."""
        config, course, timings = self.config, self.course, self.course.timings
        crew = None if timings.crew is None else timings.crew()
        members = [] if crew is None else crew.members()
        board = max((member.board for member in members), default=-1)
        at = course.cursor.at if course.known else None
        return {
            "source": course.source_name,
            "batch_size": config.batch_size,
            "workers": self.kind,
            "epoch": 0 if at is None else at.epoch,
            "step": 0 if at is None else at.step,
            "steps": at.order.steps(at.epoch) if at is not None and at.order.even else None,
            "stages": course.stage_names,
            "board": [board, *(identity(board) or (0, 0))],
            "members": [[member.thread, member.line] for member in members],
            "last": self.stats(_LAST).asdict(),
            "total": {
                "batches": timings.batches,
                "copied": timings.copied,
                "skipped": self.skips.count,
                "retried": timings.retried,
                "replaced": timings.replaced,
            },
        }


def _trace_path() -> str:
    path, number = Path(os.environ[_VARIABLE]), next(_traces)
    return str(path if number == 1 else path.with_stem(f"{path.stem}-{number}"))


def let_look(overview: Overview) -> None:
    """Let other processes look at a pipeline, trace it where the environment says so, and have hints told."""
    ours = worker_info() is None  # of a pipeline inside of a worker's code nobody wants to hear
    to_trace = ours and bool(os.environ.get(_VARIABLE))
    teller = Teller(overview.course.source_name) if ours else None

    def tell(overview: Overview) -> None:
        nonlocal to_trace
        if to_trace:
            to_trace = False
            overview.trace(_trace_path(), _TRACED)
        state = live.tell(overview.course, overview.described)
        if state is not None:
            overview.course.timings.state = state
        if teller is not None and overview.course.timings.batches:
            teller.tell(overview.look)

    overview.listen("look", tell)
