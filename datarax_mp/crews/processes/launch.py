"""The nursery as a process: how main starts it, and how it sees what has become of it."""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

from datarax_mp.crews.processes import hash_seed
from datarax_mp.crews.processes.environment import variables_for_workers
from datarax_mp.crews.processes.groups import end_session

_COMMAND = (
    "import sys; sys.path[:] = sys.argv[3:]; from datarax_mp.crews.processes.nursery import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)


# What workers cannot do without, wherever it is.
_NEEDED = {
    os: ("fork", "setpgid", "killpg", "waitpid"),
    select: ("poll",),
    socket: ("AF_UNIX", "SCM_RIGHTS", "MSG_DONTWAIT"),
    mmap: ("MAP_SHARED",),
}


def missing() -> list[str]:
    """What this system lacks of what worker processes need; nothing on POSIX ones."""
    wanted = [(module, name) for module, names in _NEEDED.items() for name in names]
    return [f"{module.__name__}.{name}" for module, name in wanted if not hasattr(module, name)]


def start(control_fd: int, board_fd: int) -> subprocess.Popen[bytes]:
    """Start a nursery that serves the other end of ``control_fd``.

    Raises:
        OSError: there can be no further process.
    """
    package_root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [
            sys.executable,
            *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
            *("-c", _COMMAND, str(control_fd), str(board_fd)),
            *_import_path(),
            package_root,
        ],
        env={**variables_for_workers(), hash_seed.VARIABLE: hash_seed.SEED},
        cwd=_deleted_directory(),
        stdin=subprocess.DEVNULL,
        pass_fds=[control_fd, board_fd],
        start_new_session=True,  # out of the reach of the terminal's Ctrl-C and of the group's signals
    )


def _import_path() -> list[str]:
    try:
        return [os.path.abspath(entry) for entry in sys.path]
    except FileNotFoundError:  # the working directory has been deleted, and with it what lay there
        return [entry for entry in sys.path if os.path.isabs(entry)]


def _deleted_directory() -> str | None:
    """Another directory where the working directory has been deleted: Python 3.13.0 cannot even import there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return os.sep
    return None


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is not reaped, so that its number, which is also its session's, stays its own."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (AttributeError, ChildProcessError):  # no such call here; or somebody else reaps the children
        return process.poll() is not None


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has been stopped (SIGSTOP), as far as the system tells."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except (AttributeError, ChildProcessError):
        return False


def kill(process: subprocess.Popen[bytes], workers: set[int]) -> int:
    """End it if it has not ended; say how it did.

    Args:
        process: a nursery.
        workers: the processes that it has forked. The kernel ends them with it, but not what these have started.
    """
    if process.returncode is None:
        os.kill(process.pid, signal.SIGKILL)  # ``Popen.kill`` would reap it first
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            end_session(process.pid, workers)
        except (AttributeError, ChildProcessError):  # as above
            pass
    return process.wait()
