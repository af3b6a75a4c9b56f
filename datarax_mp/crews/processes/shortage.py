"""Whether a worker was killed because memory ran out, in words with numbers.

The kernel counts whom it has killed for that: in every control group, and for the whole machine. A count that has risen
since somebody last looked, and a worker that died of SIGKILL, go together. Interface files: the kernel's
``cgroup-v2.rst`` (``memory.events``), ``cgroup-v1/memory.rst`` (``memory.oom_control``) and ``proc.rst``.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datarax_mp.core.cgroups import groups, text_of
from datarax_mp.core.refusals import limited_address_space
from datarax_mp.ring.segment import megabytes

# By version of the interface: the count, the limit, and the most that was used, or what is if nobody keeps that.
_FILES = {
    1: ("memory.oom_control", "memory.limit_in_bytes", ("memory.max_usage_in_bytes",)),
    2: ("memory.events", "memory.max", ("memory.peak", "memory.current")),
}
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, getattr(signal, "SIGBUS", signal.SIGSEGV))


@dataclass(frozen=True, slots=True)
class _Count:
    """How many processes have been killed for memory somewhere.

    Attributes:
        kills: so many.
        told: limit and use, as a message is to say them.
    """

    kills: int
    told: str


class Watch:
    """Remembers the counts since the last look.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._seen = {group: count.kills for group, count in _counts(root)}

    def cause(self, status: int) -> str:
        """What memory has to do with a process that ended so, as the continuation of a sentence; empty if nothing."""
        if -status in _CRASHES:
            limit = limited_address_space()
            return f"; {limit}" if limit else ""
        if status != -signal.SIGKILL:
            return ""
        found = ""
        for group, count in _counts(self._root):
            if count.kills > self._seen.get(group, 0) and not found:
                found = f"; the kernel killed it, out of memory: {count.told}"
            self._seen[group] = count.kills
        return found or "; often the kernel, out of memory"


def _counts(root: Path) -> Iterator[tuple[Path, _Count]]:
    """From the process's own group up; the machine comes last."""
    for group, version in groups("memory", root):
        events, limit, usages = _FILES[version]
        kills, most = _field(group / events, "oom_kill"), _number(group / limit)
        used = next((used for usage in usages if (used := _number(group / usage)) is not None), None)
        if kills is not None and most is not None and used is not None:
            told = f"limit {megabytes(most)} of its control group, {megabytes(used)} in use at most"
            yield group, _Count(kills, told)
    kills, total = _field(root / "proc/vmstat", "oom_kill"), _field(root / "proc/meminfo", "MemTotal:")
    free = _field(root / "proc/meminfo", "MemAvailable:")
    if kills is not None and total is not None and free is not None:
        told = f"the machine has {megabytes(1024 * total)}, of which {megabytes(1024 * (total - free))} are in use"
        yield root, _Count(kills, told)


def _field(path: Path, name: str) -> int | None:
    """A number of a file of lines such as ``name 123``."""
    pairs = [line.split() for line in text_of(path).splitlines()]
    return next((int(pair[1]) for pair in pairs if pair[:1] == [name] and pair[1].isdigit()), None)


def _number(path: Path) -> int | None:
    text = text_of(path).strip()
    return int(text) if text.isdigit() else None  # no such file, or "max": no limit here
