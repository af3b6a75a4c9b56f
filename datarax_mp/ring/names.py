"""Names of shared memory blocks, and the removal of those that a dead run has left.

A block that has to have a name loses it as soon as it is made (see ``files``), so one can only be left by a run that
was killed within those microseconds. The name says whose it is: the process, when it started (numbers of processes are
used again) and its pid namespace (a container that shares /dev/shm has other numbers).

Anybody may write to /dev/shm. What is not exactly such a name, or belongs to another user, is not looked at.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from pathlib import Path

from datarax_mp.core.proc_stat import stat_fields
from datarax_mp.core.refusals import unless_refused

_PREFIX = "datarax_mp"
_SHM = Path("/dev/shm")
_NAME = re.compile(rf"{_PREFIX}-([0-9]{{1,20}})-([0-9]{{1,10}})-([0-9]{{0,20}})-([0-9]{{1,20}})")

_numbers = itertools.count()


def new_name() -> str:
    """A name that nobody else uses."""
    return f"{_owner(os.getpid())}-{next(_numbers)}"


def of_this_process() -> list[str]:
    """The names of blocks that this process has made and not removed."""
    return [name for name in _listed() if name.startswith(f"{_owner(os.getpid())}-")]


def reclaim() -> list[str]:
    """Remove the blocks of this user's processes that are dead; return their names. Nobody else's are touched."""
    removed = []
    for name in _listed():
        found = _NAME.fullmatch(name)
        if found is None or found[1] != _namespace():
            continue
        pid = int(found[2])
        if not _lives(pid, found[3]) and _is_ours(_SHM / name):
            with contextlib.suppress(OSError):  # another process was quicker
                (_SHM / name).unlink()
                removed.append(name)
    return removed


def _listed() -> list[str]:
    return unless_refused(lambda: os.listdir(_SHM), [])  # there is no such folder, or it cannot be read


def _lives(pid: int, started: str) -> bool:
    """Whether the process is there that had this number and began then."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's, who has got the number since
    return started == start_time(pid)


def _is_ours(path: Path) -> bool:
    found = unless_refused(path.lstat, None)
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _owner(pid: int) -> str:
    return f"{_PREFIX}-{_namespace()}-{pid}-{start_time(pid)}"


def _namespace() -> str:
    return unless_refused(lambda: str(os.stat("/proc/self/ns/pid").st_ino), "0")


def start_time(pid: int) -> str:
    """Clock ticks since boot, field 22 of proc_pid_stat(5); empty if nobody tells."""
    fields = stat_fields(Path(f"/proc/{pid}/stat"))
    return fields[19] if len(fields) > 19 else ""
