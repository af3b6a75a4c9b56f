"""Names of shared memory blocks, and the removal of those that a dead run has left.

A block loses its name as soon as it is made (see ``segment``), so one can only be left by a run that was killed within
those microseconds together with its resource tracker. The name says whose it is: the process, when it started (numbers
of processes are used again) and its pid namespace (a container that shares /dev/shm has other numbers).
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

_PREFIX = "datarax_mp"
_SHM = Path("/dev/shm")

_numbers = itertools.count()


def new_name() -> str:
    """A name that nobody else uses."""
    return f"{_owner(os.getpid())}-{next(_numbers)}"


def reclaim() -> list[str]:
    """Remove the blocks of processes that are dead; return their names. Nobody else's are touched."""
    removed = []
    for path in _SHM.glob(f"{_PREFIX}-*-*-*-*"):
        namespace, pid, _, _ = path.name.removeprefix(f"{_PREFIX}-").split("-", 3)
        if namespace != _namespace() or not pid.isdigit():
            continue
        if not path.name.startswith(f"{_owner(int(pid))}-"):
            with contextlib.suppress(OSError):  # another user's, or another process was quicker
                path.unlink()
                removed.append(path.name)
    return removed


def _owner(pid: int) -> str:
    return f"{_PREFIX}-{_namespace()}-{pid}-{_start_time(pid)}"


def _namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


def _start_time(pid: int) -> str:
    """Clock ticks since boot, field 22 of proc_pid_stat(5); empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
