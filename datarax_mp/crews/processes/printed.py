"""What workers print comes out, where standard output is no terminal, too: a pipe, a file, a log of the cluster's.

Python keeps such output until there are some kilobytes of it, and writes the rest when the interpreter ends. A worker's
does not end: it is killed with its nursery.
"""

from __future__ import annotations

import sys


def by_lines() -> None:
    """Have every line written when it is complete, and as a whole, so that no other worker's comes in the middle.

    Also where Python was told to buffer nothing (``-u``, PYTHONUNBUFFERED), and would write a line in pieces. To be
    called once, in the process that workers are forked of.
    """
    try:
        sys.stdout.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):  # there is none, or it is another kind of object
        pass


def flush() -> None:
    """Write what has been printed, where there is anything to write it to: lines that are not complete yet.

    Also what the user's code has put in the place of a stream may not take it; that is no matter of a batch's.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, none, a disk that is full, a pipe that nobody reads
            pass
