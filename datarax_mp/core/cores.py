"""How many processor cores this process may use, which is often less than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from datarax_mp.core.cgroups import groups, text_of


def usable_cores(root: Path = Path("/")) -> int:
    """The least of what the affinity and the control groups' quotas allow, at least 1; a fraction counts as a core.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    return max(1, math.ceil(min([affinity(), *_quotas(root)])))


def affinity() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """Cores by CPU time per period that the control groups allow, a fraction maybe; None is no limit.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    return min(_quotas(root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    """Cores by CPU time per period."""
    for group, version in groups("cpu", root):
        files = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        match " ".join(text_of(group / file) for file in files).split():
            case [quota, period] if quota.isdigit() and period.isdigit() and int(quota) and int(period):
                # neither "max" nor -1, which are no limit
                yield int(quota) / int(period)
