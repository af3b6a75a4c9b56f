"""More workers than there are cores for, where that shows: they wait for one another, or are kept from it."""

from __future__ import annotations

from datarax_mp.monitoring.hints.look import Look

_STARVING = 0.15  # a share of their working time


def hint(look: Look) -> str | None:
    """Workers that mostly wait for a disk or a network need no core each, so the number alone says nothing."""
    stats = look.stats
    if not look.measured or stats.workers <= stats.cores:
        return None
    share = f"{stats.workers} workers share {stats.cores} cores (by affinity and control groups)"
    if stats.spare:
        busy = stats.workers - stats.spare
        return f"{share}, and {busy} of them keep these busy; num_workers={busy} would be as quick, with less memory"
    enough = stats.enough_workers
    if stats.starving < _STARVING or enough >= stats.workers:
        return None
    return (
        f"{share} and wait for one {stats.starving:.0%} of their time; num_workers={enough} would be as quick, with "
        "less memory"
    )
