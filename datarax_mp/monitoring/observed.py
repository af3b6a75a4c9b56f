"""A process with pipelines, looked at from outside: nothing is written, sent or stopped.

    /proc/PID/fd/N   its page (``page``), kept up to date by it       counts, rates, who works
    /proc/PID/fd/M   its board (``recipe.recorder``)                  what each worker process is at, in this moment
    /proc/...        memory, CPU time, whether it lives

What is mapped stays readable when the process stands still or dies. The page is as old as the newest batch; what
workers are at is looked at many times a second, and the shares of what was seen are those of the time.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from datarax_mp.core.proc_stat import stat_fields
from datarax_mp.monitoring.page import NAME, PageView
from datarax_mp.monitoring.stats import part_names
from datarax_mp.recipe.recorder import CELL_BYTES, CELLS, Phase, sighting
from datarax_mp.ring.names import start_time

_PROC = Path("/proc")
_LINE = CELLS * CELL_BYTES
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_WORDS = {Phase.IDLE: "idle", Phase.LOADING: "loading", Phase.ANSWERING: "sending", Phase.BLOCK: "block"}


def page_of(pid: int) -> PageView | None:
    """The page of a process; None if it has none.

    Raises:
        PermissionError: it may not be looked at: it is another user's, or does not let itself be looked at.
        FileNotFoundError: there is no such process.
    """
    folder = _PROC / str(pid) / "fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError, ValueError):  # closed a moment ago; or of another version
            if os.readlink(folder / name).startswith(f"/memfd:{NAME}"):
                page = PageView(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC))
                if page.started in ("", start_time(pid)):  # else of a process that was forked by the one that made it
                    return page
    return None


def pids() -> list[int]:
    """The processes of this user that have a page."""
    found = []
    for name in os.listdir(_PROC):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(_PROC / name).st_uid == os.geteuid() and page_of(int(name)) is not None:
                found.append(int(name))
    return sorted(found)


class Board:
    """The board of a process, as far as it can be had."""

    def __init__(self, pid: int, board: list[int]) -> None:
        self._memory: mmap.mmap | None = None
        fd, *known = board
        if fd < 0:
            return
        with contextlib.suppress(OSError, ValueError):
            mine = os.open(_PROC / str(pid) / "fd" / str(fd), os.O_RDONLY | os.O_CLOEXEC)
            try:
                status = os.fstat(mine)
                if [status.st_dev, status.st_ino] == known:
                    self._memory = mmap.mmap(mine, status.st_size, prot=mmap.PROT_READ)
            finally:
                os.close(mine)

    def doing(self, line: int, names: dict[tuple[Phase, int], str]) -> tuple[str, int, int] | None:
        """What a worker is at, with the step and the record's number; None if that cannot be seen."""
        if self._memory is None or line < 0 or (line + 1) * _LINE > len(self._memory):
            return None
        try:
            seen = sighting(memoryview(self._memory[line * _LINE : (line + 1) * _LINE]).cast("q"))
        except ValueError:
            return None
        word = names.get((seen.phase, seen.stage)) or _WORDS.get(seen.phase, "other")
        return word, seen.step, seen.record


class Observed:
    """One process, looked at for a while.

    Args:
        pid: the process.
        page: its page.
    """

    def __init__(self, pid: int, page: PageView) -> None:
        self.pid, self._page = pid, page
        self._started = start_time(pid)
        self._boards: dict[tuple[int, ...], Board] = {}
        self._content: dict[str, Any] = {}
        self._seen: dict[int, Counter[str]] = {}
        self._cpu: dict[int, tuple[float, float]] = {}
        self._lives = True

    def lives(self) -> bool:
        """Whether the process is there, and no zombie."""
        self._lives = self._lives and start_time(self.pid) == self._started and _state(self.pid) not in ("Z", "X", "")
        return self._lives

    def look(self) -> None:
        """See what each worker is at; to be called many times a second."""
        for pipeline in self._content.get("pipelines", ()):
            names, board = part_names(pipeline["stages"]), self._board(pipeline)
            for thread, line in pipeline["members"]:
                doing = board.doing(line, names)
                if doing is not None:
                    self._seen.setdefault(thread, Counter())[doing[0]] += 1

    def _board(self, pipeline: dict[str, Any]) -> Board:
        key = tuple(pipeline["board"])
        if key not in self._boards:
            self._boards[key] = Board(self.pid, pipeline["board"])
        return self._boards[key]

    def snapshot(self) -> dict[str, Any]:
        """All that is known, as plain JSON values; what workers did is of the time since the last one."""
        now = time.perf_counter()
        with contextlib.suppress(ValueError):  # in the middle of a change
            self._content = self._page.read() or self._content
        seen, self._seen = self._seen, {}
        lives = self.lives()
        inside = self._page.pid == self.pid  # else the numbers in it are those of a container
        return {
            "pid": self.pid,
            "lives": lives,
            "stopped": lives and _state(self.pid) in ("T", "t"),
            "command": _command(self.pid) if lives else self._content.get("command", []),
            "memory": memory(self.pid),
            "cpu": self._cpu_share(self.pid, f"{self.pid}/stat", now),
            "pipelines": [
                self._pipeline(pipeline, seen, now, inside=inside) for pipeline in self._content.get("pipelines", ())
            ],
        }

    def _pipeline(
        self, said: dict[str, Any], seen: dict[int, Counter[str]], now: float, *, inside: bool
    ) -> dict[str, Any]:
        waits, away, batches = self._page.state(said["place"])
        names, board = part_names(said["stages"]), self._board(said)
        workers = []
        for thread, line in said["members"]:
            counts = seen.get(thread, Counter())
            doing = board.doing(line, names)
            task = f"{thread}/stat" if line >= 0 else f"{self.pid}/task/{thread}/stat"
            workers.append(
                {
                    "thread": thread,
                    "lives": not inside or (_PROC / task).exists(),
                    "doing": None if doing is None else doing[0],
                    "step": None if doing is None else doing[1],
                    "record": None if doing is None or doing[2] < 0 else doing[2],
                    "shares": {word: count / counts.total() for word, count in counts.most_common()},
                    "memory": memory(thread) if inside and line >= 0 else None,
                    "cpu": self._cpu_share(thread, task, now) if inside else None,
                }
            )
        newest = max(waits, away)
        return {
            **{key: value for key, value in said.items() if key not in ("members", "board", "place")},
            "batches": max(batches, said["total"]["batches"]),
            "waiting": waits > away,
            "since": max(time.perf_counter() - newest, 0.0) if newest else None,
            "members": workers,
        }

    def _cpu_share(self, key: int, path: str, now: float) -> float | None:
        """Cores that were used since the last snapshot; None if that cannot be said."""
        used = _cpu_seconds(path)
        before = self._cpu.get(key)
        if used is None:
            return None
        self._cpu[key] = used, now
        return None if before is None or now <= before[1] else max(used - before[0], 0.0) / (now - before[1])


def memory(pid: int) -> int | None:
    """Bytes that a process takes, memory that it shares counted in part (PSS); its RSS where the system has no PSS."""
    for name, scale in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = (_PROC / str(pid) / name).read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(scale))
    return None


def _state(pid: int) -> str:
    return next(iter(stat_fields(_PROC / f"{pid}/stat")), "")


def _cpu_seconds(path: str) -> float | None:
    fields = stat_fields(_PROC / path)
    return (int(fields[11]) + int(fields[12])) / _TICK if len(fields) > 12 else None


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return [part.decode(errors="replace") for part in (_PROC / f"{pid}/cmdline").read_bytes().split(b"\0") if part]
    return []
