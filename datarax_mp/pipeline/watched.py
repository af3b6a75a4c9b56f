"""What can be seen of a pipeline while it runs."""

from __future__ import annotations

from datarax_mp.pipeline.blueprint import Blueprint
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.skips import SkippedRecord, Skips
from datarax_mp.pipeline.stats import Report, Stats


class Watched:
    """The part of a pipeline that says how it goes; any thread may ask, at any time."""

    _blueprint: Blueprint
    _config: Config
    _course: Course
    _skips: Skips

    @property
    def skipped(self) -> int:
        """Records that ``on_error="skip"`` has left out so far, of the batches that were received, over all epochs."""
        return self._skips.count

    @property
    def skips(self) -> list[SkippedRecord]:
        """The newest 1,000 of them, oldest first: record, epoch, step and what was raised."""
        return self._skips.newest()

    def stats(self) -> Stats:
        """Where the time goes: what was waited for, what the caller's own step takes, what a batch takes a worker.

        It is noted always, by a look at the clock for each run of batches; ``stats().asdict()`` is flat, for a log.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": np.arange(100.0)}, batch_size=10)
        >>> for batch in pipeline:
        ...     pass
        >>> stats = pipeline.stats()
        >>> stats.batches, stats.bytes, 0 <= stats.utilisation <= 1
        (10, 640, True)
        """
        return Stats.of(
            self._blueprint.timings,
            batch_bytes=self._course.block_bytes,
            workers=self._config.options.num_workers,
            skipped=self._skips.count,
        )

    def report(self) -> Report:
        """The same in words: a short table, whether the loader is the bottleneck, and what more workers would bring.

        >>> from datarax_mp import Pipeline
        >>> print(Pipeline(source=[1, 2], batch_size=1).report().advice)
        Too few batches have been received to say anything; iterate for some seconds.
        """
        return Report(self.stats())
