"""A line in the log every so many seconds, for who has no dashboard."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from datarax_mp.feed.timings import Figures
from datarax_mp.monitoring.report import duration, in_words
from datarax_mp.monitoring.stats import Stats

log = logging.getLogger("datarax_mp")


class LogLine:
    """Says how a pipeline went since the last line; to be called often.

    Args:
        seconds: how long there is no other line.
        name: what the line begins with.
        clock: seconds.
    """

    def __init__(self, seconds: float, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._name, self._clock = seconds, name, clock
        self._due = clock() + seconds
        self._before = Figures()

    def tell(self, now: Figures, stats: Callable[[Figures], Stats]) -> None:
        """Log a line if it is time for one and there is something to say.

        Args:
            now: what has been seen up to now.
            stats: makes statistics of figures.
        """
        if self._clock() < self._due or now.waited.count == self._before.waited.count:
            return
        self._due = self._clock() + self._seconds
        before, self._before = self._before, now
        log.info("%s: %s", self._name, line(stats(now.since(before))))


def line(stats: Stats) -> str:
    """Statistics in a line."""
    said = [
        f"{stats.batches_per_second:.4g} batches/s, {stats.rows_per_second:.4g} records/s, "
        f"{stats.bytes_per_second / 1e6:.3g} MB/s",
        f"waiting {1 - stats.utilisation:.0%}",
        f"a batch takes a worker {duration(stats.worked)}",
    ]
    if shares := stats.shares:
        slowest = max(shares, key=shares.__getitem__)
        said[-1] += f", {in_words(slowest)} {shares[slowest]:.0%} of that"
    if stats.workers:
        said.append(f"{stats.workers} workers {stats.busy:.0%} busy")
    said.append(f"slots {stats.ring.held} held, {stats.ring.filled} filled, {stats.ring.free} free")
    counts = {"copied": stats.copied, "skipped": stats.skipped, "read again": stats.retried, "replaced": stats.replaced}
    said += [f"{count} {what}" for what, count in counts.items() if count]
    return "; ".join(said)
