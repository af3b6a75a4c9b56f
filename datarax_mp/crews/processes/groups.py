"""What the user's code has started in a worker, and goes with it.

Every worker leads a process group, and what it starts is in that group unless it leaves it on purpose (``setsid``,
``start_new_session=True``: daemons do). When the worker has ended, however it did, the others are told to end
(SIGTERM), and those that have not after a second are killed. They are told first because a resource tracker of
``multiprocessing`` may be among them, which ignores that and removes what the worker has left in /dev/shm.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from datarax_mp.core.patience import Patience
from datarax_mp.core.proc_stat import stat_fields
from datarax_mp.core.refusals import unless_refused

_GRACE_SECONDS = 1.0
LOOK_SECONDS = 0.02  # between two looks whether they have ended


class Groups:
    """The groups of workers that have ended and have left somebody."""

    def __init__(self) -> None:
        self._left: dict[int, Patience] = {}

    def __bool__(self) -> bool:
        return bool(self._left)

    def orphan(self, group: int) -> None:
        """The worker that led this group has been reaped.

        A group's number is not given out again while somebody is in it; and if nobody is, there is no such group.
        """
        if _signal(group, signal.SIGTERM):
            self._left[group] = Patience(_GRACE_SECONDS)

    def look(self) -> None:
        """Kill those whose time is over."""
        for group, patience in list(self._left.items()):
            if not _signal(group, 0):
                del self._left[group]
            elif patience.over():
                _signal(group, signal.SIGKILL)
                del self._left[group]


def lead() -> None:
    """Make this process the leader of a group of its own."""
    with suppress(OSError):  # forbidden; what it starts then stays behind
        os.setpgid(0, 0)


def end_session(session: int, leaders: set[int]) -> None:
    """Kill whoever is left of the groups of these workers, whose nursery led the session and has just been killed.

    The nursery must not have been reaped, so that nobody else can have its number. Only Linux says who is in a session.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        fields = stat_fields(entry / "stat")[2:4]  # none where it has ended meanwhile, or there is nothing to be seen
        if len(fields) == 2 and int(fields[1]) == session and int(fields[0]) in leaders:
            unless_refused(partial(os.kill, int(entry.name), signal.SIGKILL), None)


def _signal(group: int, number: int) -> bool:
    """Send a signal; False if nobody is there to get it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user by now; we cannot do more about it
        return False
    return True
