"""``top``: what the running pipelines of this user do, live in the terminal or once as JSON. It only reads."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from datarax_mp.commands.table import Refused

if TYPE_CHECKING:
    from datarax_mp.monitoring.observed import Observed

_LOOK_SECONDS = 0.02
_SHOW_SECONDS = 0.5
_FIND_SECONDS = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """See ``Command``."""
    parser.add_argument("pid", nargs="?", type=int, help="the process; without it, all of this user's with pipelines")
    parser.add_argument("--json", action="store_true", help="look once, for --seconds, and print JSON")
    parser.add_argument("--seconds", type=float, help="end after so many seconds, not at Ctrl-C")


def run(options: argparse.Namespace) -> int:
    """See ``Command``."""
    if not os.path.isdir("/proc/self/fd"):
        raise Refused("this system has no /proc, which is where running pipelines are found")
    found = Found(options.pid)
    if options.json:
        print(json.dumps(found.watch(1.0 if options.seconds is None else options.seconds), indent=2))
        return 0
    try:
        from rich.console import Console
        from rich.live import Live

        from datarax_mp.commands.top_view import picture
    except ImportError as error:
        raise Refused(
            f'the live view needs rich ({error}): pip install "datarax-mp[monitoring]", or use --json'
        ) from None
    console = Console()
    if not console.is_terminal:
        console.print(picture(found.watch(1.0 if options.seconds is None else options.seconds), console.width, None))
        return 0
    end = None if options.seconds is None else time.monotonic() + options.seconds
    shown: list[dict[str, Any]] = []
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while (end is None or time.monotonic() < end) and not _is_over(options.pid, shown):
            shown = found.watch(_SHOW_SECONDS)
            live.update(picture(shown, console.width, console.height), refresh=True)
    if _is_over(options.pid, shown):
        console.print(picture(shown, console.width, None))  # what was seen last stays to be read
    return 0


def _is_over(pid: int | None, shown: list[dict[str, Any]]) -> bool:
    return pid is not None and bool(shown) and not shown[0]["lives"]


class Found:
    """The processes that are looked at.

    Args:
        pid: the only one, or None for all that there are.

    Raises:
        Refused: that process cannot be looked at.
    """

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._observed: dict[int, Observed] = {}
        self._searched = -_FIND_SECONDS
        if pid is not None:
            self._observed[pid] = _observed(pid)

    def watch(self, seconds: float) -> list[dict[str, Any]]:
        """Look for a while, and say what was seen; a process that has ended comes once more, and then no more."""
        if self._pid is None:
            self._search()
        for one in self._observed.values():
            one.snapshot()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for one in self._observed.values():
                one.look()
            time.sleep(_LOOK_SECONDS)
        shown = [one.snapshot() for one in self._observed.values()]
        if self._pid is None:
            self._observed = {one["pid"]: self._observed[one["pid"]] for one in shown if one["lives"]}
        return shown

    def _search(self) -> None:
        from datarax_mp.monitoring import observed

        if time.monotonic() - self._searched < _FIND_SECONDS:
            return
        self._searched = time.monotonic()
        for pid in observed.pids():
            if pid not in self._observed:
                with contextlib.suppress(Refused):  # it has ended since
                    self._observed[pid] = _observed(pid)


def _observed(pid: int) -> Observed:
    from datarax_mp.monitoring.observed import Observed, page_of

    try:
        page = page_of(pid)
    except FileNotFoundError:
        raise Refused(f"there is no process {pid}") from None
    except PermissionError:
        raise Refused(f"process {pid} is another user's, or does not let itself be looked at") from None
    if page is None:
        raise Refused(
            f"process {pid} has no pipeline that has been iterated, or it is one of its workers, or its system refuses "
            "memfd_create, or it has another version of this package"
        )
    return Observed(pid, page)
