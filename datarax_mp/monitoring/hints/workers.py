"""No workers, although the caller waits for what several of them could do at once."""

from __future__ import annotations

from datarax_mp.monitoring.hints.look import Look
from datarax_mp.monitoring.report import in_words

_WAITING = 0.5  # a share of time
_LEAST = 2e-3  # seconds a batch: less is not worth a process
_GAIN = 1.5


def hint(look: Look) -> str | None:
    """Stages, or reading, that take most of the caller's time; copying rows is nobody's to spread."""
    stats, shares = look.stats, look.stats.shares
    if stats.workers or not look.measured or not shares or stats.worked < _LEAST:
        return None
    waiting, slowest = 1 - stats.utilisation, max(shares, key=shares.__getitem__)
    if waiting < _WAITING or slowest == "collate":
        return None
    enough = stats.enough_workers
    gain = stats.pace(0) / stats.pace(enough)
    if gain < _GAIN:
        return None
    return (
        f"with num_workers=0 the loop waits {waiting:.0%} of its time for batches that its own thread makes "
        f"({in_words(slowest)} takes {shares[slowest]:.0%} of that); num_workers={enough} would be some {gain:.1f} "
        "times as fast"
    )
