"""How many files this process may have open."""

from __future__ import annotations

from collections.abc import Iterator

from datarax_mp.commands.checks.finding import Finding
from datarax_mp.core.descriptors import open_count

_WANTED = 1024


def descriptors() -> Iterator[Finding]:
    """The limit, and how many are open."""
    try:
        import resource  # delayed: not everywhere
    except ImportError:
        yield Finding("descriptors", "this system does not tell how many there may be")
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = ["unlimited" if limit == resource.RLIM_INFINITY else str(limit) for limit in (soft, hard)]
    count = open_count()
    opened = "" if count is None else f", {count} are open"
    remedy = ""
    if soft != resource.RLIM_INFINITY and soft < _WANTED:
        remedy = f"a worker takes a handful, JAX and files take more: ulimit -n {_WANTED} (at most {limits[1]})"
    yield Finding("descriptors", f"at most {limits[0]} (ulimit -n; up to {limits[1]}){opened}", remedy)
