"""What the kernel says of the processes of a session, and the end of them.

Every child of the benchmark leads a session of its own, which all that it starts belongs to, orphans included.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

SHM = Path("/dev/shm")
_TICKS = os.sysconf("SC_CLK_TCK")
_MAPPED = re.compile(r" /dev/shm/(.+?)(?: \(deleted\))?$", re.MULTILINE)
_END_SECONDS = 5.0  # a killed process that is still there then is stuck in the kernel


def members(session: int) -> list[int]:
    """The processes of a session, those left out that have ended and were not asked how."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _in_session(int(name), session)]


def cpu_seconds(session: int) -> float:
    """User and system time of all processes of a session, those that have ended and were waited for included."""
    total = 0
    for pid in members(session):
        if fields := _stat(pid):
            total += sum(map(int, fields[11:15]))  # utime, stime, and both of the children that were waited for
    return total / _TICKS


def pss_bytes(session: int) -> int:
    """What all processes of a session use, with shared memory counted once."""
    total = 0
    for pid in members(session):
        found = re.search(r"^Pss:\s+(\d+) kB", _read(pid, "smaps_rollup"), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


def shm_names(session: int) -> set[str]:
    """The names in /dev/shm that processes of a session have mapped."""
    return {name for pid in members(session) for name in _MAPPED.findall(_read(pid, "maps"))}


def wait(child: subprocess.Popen[str], seconds: float) -> None:
    """Give a child, the leader of its session, and all others there some time to end by themselves."""
    deadline = time.monotonic() + seconds
    while (child.poll() is None or members(child.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)


def end(session: int) -> set[str]:
    """Kill all processes of a session; the names in /dev/shm that they had mapped at that moment."""
    for pid in members(session):  # so that nothing is made between the look at the maps and the end
        _signal(pid, signal.SIGSTOP)
    names = shm_names(session)
    deadline = time.monotonic() + _END_SECONDS
    while (pids := members(session)) and time.monotonic() < deadline:
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.01)
    return names


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


def _in_session(pid: int, session: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX" and int(fields[3]) == session


def _stat(pid: int) -> list[str]:
    """The fields after the process's name, which may hold anything; the first is the state."""
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
