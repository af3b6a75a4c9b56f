"""How much memory can still be had: of the machine, and within the control groups that this process is in.

Shared memory counts against the group that touches it first. Allocating beyond a group's limit is no error: the kernel
kills a process instead. So it is asked for beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datarax_mp.core.cgroups import groups, text_of

# By version of the interface: the limit, what is used, and what of that is cache that the kernel can drop.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


@dataclass(frozen=True, slots=True)
class Room:
    """Memory that is left.

    Attributes:
        size: bytes.
        within: what sets the limit, as a message is to say it.
        limit: bytes that there are altogether.
    """

    size: int
    within: str
    limit: int


def room(root: Path = Path("/")) -> Room | None:
    """The tightest of all limits, or None where the system does not tell (anything but Linux).

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    rooms = [*_machine(root), *_groups(root)]
    return min(rooms, key=lambda room: room.size, default=None)


def _machine(root: Path) -> Iterator[Room]:
    fields = _fields(root / "proc/meminfo")
    if "MemAvailable:" in fields:
        left = fields["MemAvailable:"] + fields.get("SwapFree:", 0)
        yield Room(1024 * left, "the machine", 1024 * (fields.get("MemTotal:", left) + fields.get("SwapTotal:", 0)))


def _groups(root: Path) -> Iterator[Room]:
    for group, version in groups("memory", root):
        limit, usage, cache = _FILES[version]
        texts = [text_of(group / name).strip() for name in (limit, usage)]
        if not all(map(str.isdigit, texts)):  # no such file, or "max": no limit here
            continue
        most, used = map(int, texts)
        reclaimable = _fields(group / "memory.stat").get(cache, 0)
        within = f"the memory limit of its control group, {most / 1e6:.1f} MB"
        yield Room(max(0, most - (used - reclaimable)), within, most)


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of lines such as ``name 123``."""
    pairs = [line.split() for line in text_of(path).splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) >= 2 and pair[1].isdigit()}
