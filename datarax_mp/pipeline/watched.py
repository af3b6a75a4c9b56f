"""What can be seen of a pipeline while it runs."""

from __future__ import annotations

import os
import weakref
from typing import Any

from datarax_mp.monitoring.report import Report
from datarax_mp.monitoring.stats import Stats
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.overview import Overview
from datarax_mp.pipeline.skips import SkippedRecord, Skips


class Watched:
    """The part of a pipeline that says how it goes; any thread may ask, at any time."""

    _config: Config
    _course: Course
    _skips: Skips
    _iterators: weakref.WeakSet[PipelineIterator[Any]]

    @property
    def skipped(self) -> int:
        """Records that ``on_error="skip"`` has left out so far, of the batches that were received, over all epochs."""
        return self._skips.count

    @property
    def skips(self) -> list[SkippedRecord]:
        """The newest 1,000 of them, oldest first: record, epoch, step and what was raised."""
        return self._skips.newest()

    def _overview(self) -> Overview:
        return Overview(self._config, self._course, self._skips, self._iterators)

    def stats(self, last: float | None = None) -> Stats:
        """Where the time goes: what was waited for, what the caller's own step takes, what a worker does for a batch.

        It is noted always; ``stats().asdict()`` is flat, for a log. Any thread may ask, and disturbs nobody.

        Args:
            last: only what has come in about so many seconds before the newest batch, at most a minute, to half a
                second; None is all since the pipeline was made.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": np.arange(100.0)}, batch_size=10)
        >>> for batch in pipeline:
        ...     pass
        >>> stats = pipeline.stats()
        >>> stats.batches, stats.rows, stats.bytes, 0 <= stats.utilisation <= 1
        (10, 100, 640, True)
        """
        return self._overview().stats(last)

    def report(self, last: float | None = None) -> Report:
        """The same in words: a short table, whether the loader is the bottleneck, and what more workers would bring.

        Args:
            last: as in ``stats``.

        >>> from datarax_mp import Pipeline
        >>> print(Pipeline(source=[1, 2], batch_size=1).report().advice)
        Too few batches have been received to say anything; iterate for some seconds.
        """
        return Report(self.stats(last))

    def log_every(self, seconds: float, name: str | None = None) -> None:
        """Log a line every so many seconds for as long as batches are taken: rates, waits, and what takes longest.

        It goes to the log ``datarax_mp`` at level INFO, out of ``next``; a loop that stands still is quiet. For
        Prometheus see ``datarax_mp.monitoring.prometheus``. Called again, it takes the place of what was said before.

        Args:
            seconds: how many.
            name: what the line begins with, to tell pipelines apart; None is what the source is called.

        Raises:
            ValueError: it is not more than nothing.

        >>> from datarax_mp import Pipeline
        >>> Pipeline(source=[1, 2], batch_size=1).log_every(30, "train")
        """
        if not seconds > 0:
            raise ValueError(f"seconds={seconds}: expected more than 0")
        self._overview().log_every(seconds, self._course.source_name if name is None else name)

    def trace(self, path: str | os.PathLike[str], steps: int = 200) -> None:
        """Note what main and all workers do, and write it to a file for Perfetto (https://ui.perfetto.dev).

        It begins with what is handed out from now on, and is written when the caller is through with so many batches;
        or with fewer, when the pipeline is closed or the program ends. While it goes on, workers note each record, and
        main each batch. Inside ``jax.profiler.trace`` main's spans show in JAX's profile, too. The environment variable
        ``DATARAX_MP_TRACE=path`` has the same effect on the pipelines of a program, the second one's file being
        ``path-2`` and so on.

        Args:
            path: the file, JSON in the Trace Event Format.
            steps: how many batches.

        Raises:
            OSError: the file cannot be written.
            RuntimeError: another trace is being made.
            ValueError: there is nothing to trace.

        >>> import json, os, tempfile
        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> path = os.path.join(tempfile.mkdtemp(), "trace.json")
        >>> with Pipeline(source={"x": np.arange(100.0)}, batch_size=10) as pipeline:
        ...     pipeline.trace(path, steps=5)
        ...     for batch in pipeline:
        ...         pass
        >>> with open(path) as file:
        ...     events = json.load(file)["traceEvents"]
        >>> sum(event["name"] == "your step" for event in events)
        5
        """
        if steps < 1:
            raise ValueError(f"steps={steps}: expected at least 1")
        self._overview().trace(os.fspath(path), steps)
