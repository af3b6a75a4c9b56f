"""What is closed when the interpreter ends, in an order of its own, whichever module was imported first.

``atexit`` calls what was registered last first. A module that is imported only when somebody needs it would so be
closed before those that use it.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum


class Turn(IntEnum):
    """When something is closed: who uses others goes before them."""

    ITERATORS = 0
    WORKERS = 1
    LOGS = 2


_at_exit: list[tuple[Turn, Callable[[], object]]] = []


def at_exit(turn: Turn) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Have a function called when the interpreter ends, in its turn, whatever the others raise."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        _at_exit.append((turn, function))
        return function

    return register


@atexit.register
def _close_all() -> None:
    with ExitStack() as stack:
        for _, function in sorted(_at_exit, key=lambda entry: entry[0], reverse=True):
            stack.callback(function)
