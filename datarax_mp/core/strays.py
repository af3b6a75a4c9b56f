"""Whose an exception is.

What a source or a stage raises, or is raised over a record, is data: it waits its turn behind the batches before it, or
is skipped with the record. What comes from elsewhere (a signal handler's time limit, Ctrl-C, memory that has run out)
may come at any line of ours and concerns the caller at once. Its kind says nothing, since people raise TimeoutErrors
and classes of their own from handlers. So every call of the user's code claims what is raised there, and what nobody
has claimed is a stray.

Where only one call is tried, and what it raises has an answer, trying it again tells: what a value raises, it raises
every time.

While the user's code runs in this process (``num_workers=0``), a signal handler may raise in the middle of it. It is
seen in the traceback, and nothing is claimed then, unless the code has installed the handler for itself: such code puts
the one before back on its way out.
"""

from __future__ import annotations

import functools
import signal
import sys
import traceback
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any

from datarax_mp.core.notes import add_note

_MARK = "_datarax_mp_claimed"
_OURS = ("datarax_mp", "numpy")  # what raises over a record that it works on, when we call it
_FOREIGN = "datarax_mp.core.foreign"  # calls other libraries' methods all over
_all_is_data = False


def accept_all() -> None:
    """Take nothing for a stray in this process: all that a worker meets is to be told to its main process."""
    global _all_is_data
    _all_is_data = True


def claim(error: BaseException, note: str | None = None) -> None:
    """Say that the user's code has raised this, and where; unless a signal handler has."""
    if is_interruption(error):
        return
    error.__dict__[_MARK] = True
    if note is not None:
        add_note(error, note)


def claimed(error: BaseException) -> bool:
    """Whether the user's code has raised this. Asked once: it takes the mark off."""
    return error.__dict__.pop(_MARK, False)


def is_stray(error: BaseException) -> bool:
    """Whether this was raised by neither the user's code nor ours nor NumPy, but by somebody who came in between."""
    if _all_is_data or _MARK in error.__dict__:
        return False
    at = error.__traceback__
    name = ""
    while at is not None:
        name = at.tb_frame.f_globals.get("__name__", "")
        if name == _FOREIGN:
            return is_interruption(error)
        at = at.tb_next
    return name.partition(".")[0] not in _OURS


def is_chance(attempt: Callable[[], object]) -> bool:
    """Whether what this has just raised came from elsewhere: a handler is seen to have raised it, or it works now."""
    if _all_is_data:
        return False
    if is_from_handler():
        return True
    try:
        attempt()
    except Exception:
        return False
    return True


def is_interruption(error: BaseException) -> bool:
    """Whether a signal handler of this process has raised this, in the middle of whatever it was."""
    return not _all_is_data and _came_from_handler(error)


def is_from_handler() -> bool:
    """Whether a function that handles signals just now has raised what is being handled."""
    error = sys.exception()
    return error is not None and _came_from_handler(error)


def _came_from_handler(error: BaseException) -> bool:
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return bool(codes) and any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _code_of(handler: Any) -> CodeType | None:
    """What runs when a handler is called; None if it is none in Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not isinstance(handler, FunctionType | MethodType):
        handler = vars(type(handler)).get("__call__")  # of an object that can be called
    return getattr(getattr(handler, "__func__", handler), "__code__", None)
