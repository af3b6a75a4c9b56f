"""What the system says of a process or a thread."""

from __future__ import annotations

from pathlib import Path

from datarax_mp.core.refusals import unless_refused


def stat_fields(path: Path) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on, the state; none where nobody tells.

    Args:
        path: ``/proc/PID/stat``, or a thread's.
    """
    # Bytes: the name stands before them, and may end in the middle of a character.
    return unless_refused(path.read_bytes, b"").rpartition(b")")[2].decode().split()
