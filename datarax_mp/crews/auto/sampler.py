"""The process that looks at our threads, as this process has it; see ``look``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Self

from datarax_mp.core.undisturbed import undisturbed
from datarax_mp.crews.processes.launch import has_ended

_PROGRAM = Path(__file__).with_name("look.py")
_END_SECONDS = 2.0  # to tell what it has seen; it takes milliseconds


class Seen(NamedTuple):
    """A look.

    Attributes:
        at: when, in nanoseconds by ``time.monotonic_ns``.
        working: how many threads were at work.
    """

    at: int
    working: int


class Sampler:
    """Starts the process; use it in a ``with`` statement, at whose end it is no more.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self) -> None:
        started = undisturbed(self._start)
        if isinstance(started, BaseException):
            raise started
        self._process = started
        self._looking = False

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of the reach of the terminal's Ctrl-C
        )

    def add(self, thread: int) -> None:
        """Look at one more thread, by its number of the system's."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d\n" % thread)
            self._process.stdin.flush()
        except BrokenPipeError:  # it has ended, and has seen nothing
            pass

    def looking(self) -> bool:
        """Whether it has begun to look."""
        assert self._process.stdout is not None
        if not self._looking:
            os.set_blocking(self._process.stdout.fileno(), False)
            self._looking = bool(self._process.stdout.read(len("looking\n")))
            os.set_blocking(self._process.stdout.fileno(), True)
        return self._looking

    def lost(self) -> bool:
        """Whether it has ended of itself: the system says nothing of threads."""
        return has_ended(self._process)  # ``poll`` takes a lock, which a signal handler that raises would leave taken

    def seen(self) -> list[Seen]:
        """Make it stop, and say what it has seen; nothing if it could not look."""
        try:
            told, _ = self._process.communicate(timeout=_END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            return []
        lines = [line.split() for line in told.splitlines()]
        return [Seen(int(line[0]), int(line[1])) for line in lines if len(line) == 2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        process = self._process
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:  # of what was still to be written
                    pass
