"""How many cores there are for main and workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from datarax_mp.commands.checks.finding import Finding
from datarax_mp.core.cores import affinity, quota, usable_cores


def cores(root: Path = Path("/")) -> Iterator[Finding]:
    """Cores by affinity and by the control groups' quotas.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    allowed, limit = affinity(), quota(root)
    usable = usable_cores(root)
    told = "no quota" if limit is None else f"a quota of {limit:.3g} by the control group"
    found = f"{usable} usable ({allowed} of the machine's {os.cpu_count()} by affinity, {told})"
    remedy = ""
    if usable == 1:
        remedy = (
            "main and workers share one core, so workers bring nothing but where the source waits for a disk or a "
            "network; allow two cores or more (taskset, --cpus of the container, the job's request)"
        )
    elif limit is not None and limit < allowed:
        remedy = (
            f"programs that go by the affinity start {allowed} threads each and are held up by the quota; set "
            f"OMP_NUM_THREADS={usable}, or pin the process to {usable} cores (taskset)"
        )
    yield Finding("cores", found, remedy)
