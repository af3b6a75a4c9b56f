"""Something that happens at a chosen line: what a signal handler does once in months, on purpose and at every place.

total = count(use, lines)                  how many lines there are at which something could happen
with AtLine(n, action, lines) as at:       the action comes at the n-th of them
    use()
at.where                                   where that was; "" if there are fewer lines

Only lines count at which a handler can come. Python looks for signals when a function begins, when a call has returned
and when it jumps backwards. So none comes between a lock that has been taken and the first call after that; nor on the
way out of a ``with``, whose line is traced once more before ``__exit__`` is called: what was raised there would leave
the lock taken for ever.
"""

from __future__ import annotations

import dis
import functools
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any


@dataclass(frozen=True)
class Lines:
    """Which lines count.

    Attributes:
        in_frame: whether those of a frame do, and of what it calls.
        spares: whether a line's text says that nothing can come in there.
    """

    in_frame: Callable[[FrameType], bool]
    spares: Callable[[str], bool]


class AtLine:
    """Do something at the n-th line that this thread runs among those that count.

    Args:
        line: which, from 1.
        action: what is done; it may raise.
        lines: which count.

    Attributes:
        passed: how many have been run.
        where: file and number of the line at which it was done, or "".
    """

    def __init__(self, line: int, action: Callable[[], object], lines: Lines) -> None:
        self.line, self.action, self.lines = line, action, lines
        self.passed, self.where = 0, ""

    def __enter__(self) -> AtLine:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        return _Frame(self).trace if self.lines.in_frame(frame) else None

    def pass_line(self, frame: FrameType) -> None:
        """This thread is about to run a line at which a handler can come."""
        file, number = frame.f_code.co_filename, frame.f_lineno
        if not self.lines.spares(linecache.getline(file, number)):
            self.passed += 1
            if self.passed == self.line:
                self.where = f"{file}:{number}"
                sys.settrace(None)
                self.action()


class _Frame:
    """A frame, or a generator's between two yields, and the offset of the line that it ran last."""

    def __init__(self, at: AtLine) -> None:
        self.at, self.last = at, -1

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            last, self.last = self.last, frame.f_lasti
            looks, leaves = _places(frame.f_code)
            if frame.f_lasti not in leaves and (
                last < 0 or frame.f_lasti <= last or any(last <= place < frame.f_lasti for place in looks)
            ):
                self.at.pass_line(frame)
        return self.trace


@functools.cache
def _places(code: CodeType) -> tuple[frozenset[int], frozenset[int]]:
    """The offsets behind which Python looks for signals, and those of what leads to ``__exit__(None, None, None)``."""
    steps = [(step.offset, step.opname, step.argval) for step in dis.get_instructions(code)]
    quiet = ("JUMP_BACKWARD_NO_INTERRUPT", "CALL_INTRINSIC_1", "CALL_INTRINSIC_2")
    looks = {
        offset
        for offset, name, _ in steps
        if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD")) and name not in quiet
    }
    leaves = set()
    for place in range(len(steps) - 3):
        nones = all(name == "LOAD_CONST" and value is None for _, name, value in steps[place : place + 3])
        if nones and steps[place + 3][1] in ("PRECALL", "CALL"):
            leaves.add(steps[place][0])
            while place and steps[place - 1][1] in ("SWAP", "NOP"):  # a value that is returned lies on top
                place -= 1
                leaves.add(steps[place][0])
    return frozenset(looks), frozenset(leaves)


def count(use: Callable[[], object], lines: Lines) -> int:
    """How many lines count in the course of a use."""
    with AtLine(-1, lambda: None, lines) as counter:
        use()
    return counter.passed
