"""How worker processes come into being."""

from __future__ import annotations

from collections.abc import Iterator

from datarax_mp.commands.checks.finding import Finding
from datarax_mp.crews.choose import missing


def start() -> Iterator[Finding]:
    """Whether this system has what worker processes need."""
    lacking = missing("processes", 1)
    if lacking:
        remedy = 'workers="threads" and num_workers=0 work here; worker processes need a POSIX system'
        yield Finding("start method", f"this system lacks {', '.join(lacking)}", remedy, works=False)
    else:
        found = "forked by a small process without JAX; what multiprocessing is set to does not matter"
        yield Finding("start method", found)
