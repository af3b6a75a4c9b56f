"""The control groups that this process is in: where the kernel says what it may use.

Interface files: the kernel's ``cgroup-v2.rst`` and ``cgroup-v1/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datarax_mp.core.refusals import unless_refused


def groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[Path, int]]:
    """The folder of every group from this process's own up to the root, with the version of its interface (1 or 2).

    Inside a container only the root may be there, so a folder need not exist.

    Args:
        controller: "memory" or "cpu".
        root: where ``proc`` and ``sys`` are, for tests.
    """
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, version = root / "sys/fs/cgroup", 2
        elif controller in controllers.split(","):
            mount, version = root / "sys/fs/cgroup" / controller, 1
        else:
            continue
        group = mount / path.lstrip("/")
        while True:
            yield group, version
            if group == mount:
                break
            group = group.parent


def text_of(path: Path) -> str:
    """What a file of the system says; nothing where there is none, or it cannot be read."""
    return unless_refused(path.read_text, "")
