"""A first batch that takes long, and what it is that takes long."""

from __future__ import annotations

from datarax_mp.monitoring.hints.look import Look
from datarax_mp.monitoring.report import duration

_LONG = 10.0  # seconds

_PARTS = {
    "filters": ("the pass over all records that Filter and FlatMap need", "decide by what is quick to read"),
    "choosing": (
        "choosing between threads and processes",
        'say workers="threads" or workers="processes", which needs no trial',
    ),
    "workers": (
        "starting workers and sending them the source and the stages",
        "keep large data in arrays, np.memmap or files, which are not sent",
    ),
    "loading": (
        "what workers import and load",
        "see what the modules of source and stages import (python -X importtime)",
    ),
    "record": (
        "the first record: worker_init, opening the source, reading and stages",
        "see what the source does at its first record (an index, a download)",
    ),
    "batch": (
        "the first batch itself",
        "make batches smaller or records cheaper; iterator.start_prefetch() begins while a model is built",
    ),
}


def hint(look: Look) -> str | None:
    """The first batch of the pipeline; later epochs find everything there."""
    start = look.stats.start
    whole = sum(start.values())
    if whole < _LONG:
        return None
    parts = sorted(start, key=start.__getitem__, reverse=True)
    told = ", ".join(f"{duration(start[part])} for {_PARTS[part][0]}" for part in parts if start[part] >= 0.1)
    return f"the first batch came after {duration(whole)}: {told}. What may help: {_PARTS[parts[0]][1]}"
