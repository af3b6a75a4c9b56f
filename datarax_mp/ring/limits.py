"""How much memory can still be had: of the machine, and within the control groups that this process is in.

Shared memory counts against the group that touches it first. Allocating beyond a group's limit is no error: the kernel
kills a process instead. So it is asked for beforehand. Interface files: the kernel's ``cgroup-v2.rst`` (``memory.max``,
``memory.current``, ``memory.stat``) and ``cgroup-v1/memory.rst``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Room:
    """Memory that is left.

    Attributes:
        size: bytes.
        within: what sets the limit, as a message is to say it.
    """

    size: int
    within: str


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
        yield Room(1024 * (fields["MemAvailable:"] + fields.get("SwapFree:", 0)), "the machine")


def _groups(root: Path) -> Iterator[Room]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _walk(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _walk(root / "sys/fs/cgroup/memory", path, *names)


def _walk(mount: Path, path: str, limit: str, usage: str, cache: str) -> Iterator[Room]:
    """Every group from this process's own up to the root; inside a container only the root may be there."""
    group = mount / path.lstrip("/")
    while True:
        try:
            most, used = int((group / limit).read_text()), int((group / usage).read_text())
        except (OSError, ValueError):  # no such file, or "max": no limit here
            pass
        else:
            reclaimable = _fields(group / "memory.stat").get(cache, 0)
            yield Room(
                max(0, most - (used - reclaimable)), f"the memory limit of its control group, {most / 1e6:.1f} MB"
            )
        if group == mount:
            return
        group = group.parent


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of lines such as ``name 123``."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) >= 2 and pair[1].isdigit()}
