"""What follows from what was measured: which setting to choose, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

from datarax_mp.commands.benching.measured import Measured
from datarax_mp.monitoring.report import duration, in_words

ENOUGH = 0.95  # of the best rate: more workers for the rest are not worth their memory
_BUSY = 0.9  # a share of the cores, or of the workers' time
_WAITS = 0.5  # a share of their time in which workers have no core, and want none
_STARVING = 0.1


def chosen(found: Sequence[Measured]) -> Measured:
    """The least that is within 5 % of the best; of two with as many workers the quicker one.

    Args:
        found: what was measured, at least one of it with success.
    """
    best = max(one.rate for one in found)
    good = [one for one in found if one.rate >= ENOUGH * best]
    least = min(one.setting.num_workers for one in good)
    return max((one for one in good if one.setting.num_workers == least), key=lambda one: one.rate)


def bound(one: Measured, step: float, found: Sequence[Measured]) -> str:
    """What a setting's speed is bound by, in words.

    Args:
        one: what was measured with it.
        step: seconds that the caller took for each batch.
        found: what was measured with others, too.
    """
    stats = one.stats
    if step and stats.utilisation >= _BUSY:
        return f"your step of {duration(step)} a batch: the loader keeps up, waiting {1 - stats.utilisation:.0%}"
    shares = stats.shares
    slowest = max(shares, key=shares.__getitem__) if shares else None
    share = f"; {in_words(slowest)} is {shares[slowest]:.0%} of the work for a batch" if slowest else ""
    if not one.setting.num_workers:
        return f"the one thread that does everything{share}"
    if stats.busy < _BUSY and stats.own_cores >= _BUSY:
        return f"the main process, which takes and moves batches: its core is busy, the workers {stats.busy:.0%}"
    if one.cores >= _BUSY * stats.cores or stats.starving >= _STARVING:
        return f"the {stats.cores} cores, which are busy{share}"
    if stats.busy < _BUSY:
        return f"the way between workers and main: a batch is quick ({duration(stats.worked)}), so that messages count"
    if stats.computing < _WAITS:
        return f"what workers wait for, a disk or a network perhaps, {1 - stats.computing:.0%} of their time{share}"
    if any(other.setting > one.setting and other.setting.workers == one.setting.workers for other in found):
        return f"what workers share, cores and memory: they are busy, and more of them bring nothing{share}"
    return f"the number of workers, who are all busy{share}"
