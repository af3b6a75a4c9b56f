"""A program: looks many times a second which of another process's threads are at work.

A thread of that process could not: it would have to wait for the interpreter lock itself, and so look at moments when
nobody else has it. Started as ``look.py PROCESS``, without site packages; a line on standard input is one more thread,
the end of it is the end. Then a line for each look: nanoseconds by ``time.monotonic_ns``, and how many were at work.
"""

from __future__ import annotations

import os
import select
import sys
import time

_PAUSE = 0.0005  # seconds
_MOST = 20_000  # looks: ten seconds


def at_work(stat: bytes) -> bool:
    """Whether a thread computes, or would if it had a core, by /proc/PID/task/TID/stat: its name may hold anything."""
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] == b"R"


def look(process: int) -> None:
    """Look until standard input ends, and print what was seen."""
    files: list[int] = []
    seen: list[str] = []
    rest = b""
    while True:
        if select.select([0], [], [], _PAUSE)[0]:
            data = os.read(0, 4096)
            if not data:
                break
            *threads, rest = (rest + data).split(b"\n")
            files += [os.open(f"/proc/{process}/task/{int(thread)}/stat", os.O_RDONLY) for thread in threads]
            if len(files) == len(threads):
                os.write(1, b"looking\n")
        if files and len(seen) < _MOST:
            seen.append(f"{time.monotonic_ns()} {sum(map(_is_at_work, files))}\n")
    sys.stdout.write("".join(seen))


def _is_at_work(file: int) -> bool:
    try:
        return at_work(os.pread(file, 1024, 0))
    except ProcessLookupError:  # it has ended
        return False


if __name__ == "__main__":
    look(int(sys.argv[1]))
