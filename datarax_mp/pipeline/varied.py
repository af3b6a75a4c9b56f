"""The same pipeline with other workers: the same stream, made by others."""

from __future__ import annotations

import dataclasses
import weakref

from datarax_mp.crews.auto.verdict import Decision
from datarax_mp.crews.choose import Workers
from datarax_mp.feed.timings import Timings
from datarax_mp.pipeline import arguments
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.overview import let_look
from datarax_mp.pipeline.pipeline import Pipeline
from datarax_mp.pipeline.skips import Skips
from datarax_mp.pipeline.yields import Yielded


def with_workers(pipeline: Pipeline[Yielded], num_workers: int, workers: Workers) -> Pipeline[Yielded]:
    """A pipeline over the same source and stages, from the beginning of its first epoch; without a ledger.

    Args:
        pipeline: the other one, which stays as it is.
        num_workers: as for ``Pipeline``, a number.
        workers: as for ``Pipeline``.

    >>> pipeline = Pipeline(source=[1, 2, 3], batch_size=2, num_workers=4)
    >>> other = with_workers(pipeline, 0, "processes")
    >>> other.num_workers, [batch.batch_size for batch in other]
    (0, [2, 1])
    """
    kind, number, auto = arguments.resolve_workers(workers, num_workers)
    options = dataclasses.replace(pipeline._config.options, num_workers=number, workers=kind, auto=auto)
    if not number:
        options = dataclasses.replace(options, timeout=None, restart_workers=True)  # which are about workers
    config = dataclasses.replace(pipeline._config, options=options, ledger=None)
    other = object.__new__(type(pipeline))
    vars(other).update(vars(pipeline))
    other._config, other._ledger, other._closed, other._going = config, None, False, None
    other._blueprint = dataclasses.replace(pipeline._blueprint, config=config, timings=Timings(), decision=Decision())
    other._iterators, other._skips = weakref.WeakSet(), Skips(config.on_skip)
    other._course = Course(other._blueprint, pipeline._course.all)
    let_look(other._overview())
    return other
