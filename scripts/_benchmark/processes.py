"""What the kernel says of a process with all that it has started, and the end of them."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

SHM = Path("/dev/shm")
_TICKS = os.sysconf("SC_CLK_TCK")
_MAPPED = re.compile(r"(\d+) +/dev/shm/", re.MULTILINE)
_END_SECONDS = 5.0  # a killed process that is still there then is stuck in the kernel


class Family:
    """A process, its descendants, and whoever is in a session of one of them, orphans included.

    Sessions are remembered, because a loader may start its workers in another session and by a process that ends.

    Args:
        pid: the process, which leads a session of its own.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._sessions = {pid}

    def members(self) -> list[int]:
        """Those that have not ended."""
        found = {pid: fields for pid in _all_pids() if (fields := _stat(pid)) and fields[0] not in "ZX"}
        members: set[int] = set()
        while True:
            more = {pid for pid, fields in found.items() if pid not in members and self._belongs(pid, fields, members)}
            if not more:
                return sorted(members)
            members |= more
            self._sessions |= {int(found[pid][3]) for pid in more}

    def cpu_seconds(self) -> float:
        """User and system time of all, those that have ended and were waited for included."""
        total = 0
        for pid in self.members():
            if fields := _stat(pid):
                total += sum(map(int, fields[11:15]))  # utime, stime, and both of the children that were waited for
        return total / _TICKS

    def pss_bytes(self) -> int:
        """What all use, with shared memory counted once."""
        total = 0
        for pid in self.members():
            found = re.search(r"^Pss:\s+(\d+) kB", _read(pid, "smaps_rollup"), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
        return total

    def shm_inodes(self) -> set[int]:
        """What they have mapped from /dev/shm. Semaphores are mapped by a name that they lose (``sem_open``)."""
        return {int(inode) for pid in self.members() for inode in _MAPPED.findall(_read(pid, "maps"))}

    def wait(self, seconds: float) -> None:
        """Give all of them some time to end by themselves."""
        deadline = time.monotonic() + seconds
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.01)

    def kill(self) -> set[int]:
        """End all of them; what they had mapped from /dev/shm at that moment."""
        for pid in self.members():  # so that nothing is made between the look at the maps and the end
            _signal(pid, signal.SIGSTOP)
        inodes = self.shm_inodes()
        deadline = time.monotonic() + _END_SECONDS
        while (pids := self.members()) and time.monotonic() < deadline:
            for pid in pids:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.01)
        return inodes

    def _belongs(self, pid: int, fields: list[str], members: set[int]) -> bool:
        return pid == self.pid or int(fields[1]) in members or int(fields[3]) in self._sessions


def shm_names() -> dict[str, int]:
    """What has a name in /dev/shm, and its inode."""
    try:
        return {entry.name: entry.inode() for entry in os.scandir(SHM)}
    except OSError:
        return {}


def remove(names: Iterable[str]) -> list[str]:
    """Remove names from /dev/shm; those that were there."""
    removed = []
    for name in sorted(names):
        try:
            (SHM / name).unlink()
        except OSError:
            continue
        removed.append(name)
    return removed


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields after the process's name, which may hold anything: state, parent, group, session and so on."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
