"""Something that happens at a chosen line: what a signal handler does once in months, on purpose and at every place.

total = count(use, lines)                  how many lines there are at which something could happen
with AtLine(n, action, lines) as at:       the action comes at the n-th of them
    use()
at.where                                   where that was; "" if there are fewer lines

The line of a ``with`` is traced once more on the way out, before ``__exit__`` is called, and is spared then: what was
raised there would leave a lock taken for ever, which no handler can do. Python looks for signals when a call has
returned, and what it runs between the block's last call and that of ``__exit__`` are constants.
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
        if not self.lines.in_frame(frame):
            return None
        file, number = frame.f_code.co_filename, frame.f_lineno
        leaves = frame.f_lasti in ways_out(frame.f_code)
        if event == "line" and not leaves and not self.lines.spares(linecache.getline(file, number)):
            self.passed += 1
            if self.passed == self.line:
                self.where = f"{file}:{number}"
                sys.settrace(None)
                self.action()
        return self._trace


@functools.cache
def ways_out(code: CodeType) -> frozenset[int]:
    """Where a block of ``with`` ends: the offsets of what leads to ``__exit__(None, None, None)``."""
    steps = [(step.offset, step.opname, step.argval) for step in dis.get_instructions(code)]
    found = set()
    for place in range(len(steps) - 3):
        nones = all(name == "LOAD_CONST" and value is None for _, name, value in steps[place : place + 3])
        if nones and steps[place + 3][1] in ("PRECALL", "CALL"):
            found.add(steps[place][0])
            if steps[place - 1][1] in ("SWAP", "NOP"):  # a value that is returned lies on top
                found.add(steps[place - 1][0])
    return frozenset(found)


def count(use: Callable[[], object], lines: Lines) -> int:
    """How many lines count in the course of a use."""
    with AtLine(-1, lambda: None, lines) as counter:
        use()
    return counter.passed
