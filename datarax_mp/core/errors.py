"""Errors of worker processes, and how an exception travels from there to the caller."""

from __future__ import annotations

import pickle
import signal
import traceback
from dataclasses import dataclass
from typing import Any

import cloudpickle

from datarax_mp.core.notes import set_notes
from datarax_mp.core.strays import is_chance
from datarax_mp.core.tracebacks import for_user, text_of, with_source

_LONGEST_LINE = 500

EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit)  # what ends a process or a generator, and is no report
ENDS = (StopIteration, StopAsyncIteration)  # what a loop takes for its end, and nobody would see


class WorkerError(RuntimeError):
    """A worker process died, or raised something that cannot be shown as what it was."""


class WorkerTimeoutError(WorkerError, TimeoutError):
    """No batch came within the pipeline's ``timeout``; the message shows what the worker in question is at."""


class WorkerTraceback(Exception):
    """The traceback of an exception as the worker saw it; it stands as the ``__cause__`` of what the caller gets."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


@dataclass(frozen=True, slots=True)
class RemoteError:
    """An exception in transit.

    Attributes:
        pickled: the exception itself, or None if it does not pickle.
        parts: its class, ``args`` and attributes, pickled, or None: for a class whose ``__init__`` takes other
            arguments than the exception keeps.
        notes: its notes.
        summary: its type and message, with its notes.
        text: the formatted traceback, from the first frame of the user's code on.
    """

    pickled: bytes | None
    parts: bytes | None
    notes: tuple[str, ...]
    summary: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> RemoteError:
        """Pack an exception that is being handled."""
        summary = "".join(traceback.format_exception_only(error)).strip()
        text = text_of(error)
        parts = type(error), error.args, {name: value for name, value in vars(error).items() if name != "__notes__"}
        notes = tuple(map(str, getattr(error, "__notes__", ())))
        return cls(_pickled(error), _pickled(parts), notes, summary, text)

    def restore(self) -> BaseException:
        """The exception of the worker, or a WorkerError with its text; its cause is the traceback there."""
        error = _unpickled(self.pickled)
        if not isinstance(error, BaseException):
            error = _assembled(_unpickled(self.parts))
        # SystemExit and KeyboardInterrupt of a worker must not end the caller.
        if not isinstance(error, BaseException) or isinstance(error, EXITS):
            error = WorkerError(f"a worker raised {self.summary}")
        elif self.notes:
            set_notes(error, list(self.notes))
        error = no_end(error)
        BaseException.__setattr__(error, "__cause__", WorkerTraceback(with_source(self.text)))
        return error


def _pickled(value: Any) -> bytes | None:
    try:
        return cloudpickle.dumps(value)
    except Exception:  # whatever its __reduce__ does: the text still arrives
        return None


def _unpickled(pickled: bytes | None) -> Any:
    if pickled is None:
        return None
    try:
        return pickle.loads(pickled)
    except Exception:  # an __init__ with other arguments than .args, say
        if is_chance(lambda: pickle.loads(pickled)):
            raise
        return None


def _assembled(parts: Any) -> BaseException | None:
    """An exception without its class's ``__init__``."""
    if parts is None:
        return None
    kind, args, attributes = parts
    try:
        error: BaseException = kind.__new__(kind, *args)
        for name, value in {"args": args, **attributes}.items():
            BaseException.__setattr__(error, name, value)
    except Exception:  # a __new__ of its own that takes something else
        return None
    return error


def no_end(error: BaseException) -> BaseException:
    """An exception as whoever iterates may get it, which is as it is, unless it would pass for the end of the loop.

    What says that an iterator is at its end (``next`` of an empty one in a stage) is a RuntimeError then, with the same
    notes, whose cause it is; Python does the same where it comes out of a generator (PEP 479).

    >>> no_end(StopIteration(3)).__cause__
    StopIteration(3)
    """
    if not isinstance(error, ENDS):
        return error
    shown = RuntimeError(
        f"the source, a stage or another function of the pipeline raised {type(error).__name__}, which would end the "
        "loop as if the epoch were over. Where it comes from next(), give that a default: next(iterator, None)"
    )
    set_notes(shown, list(getattr(error, "__notes__", ())))
    shown.__cause__ = for_user(error)
    return shown


def one_line(error: BaseException) -> str:
    """Type, message and notes of an exception, for a log."""
    text = "; ".join("".join(traceback.format_exception_only(error)).strip().splitlines())
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."


def describe_exit(status: int) -> str:
    """Put a process's end into words: ``SIGKILL(-9)``, ``exit code 3``."""
    if status < 0:
        name = next((known.name for known in signal.Signals if known == -status), "signal")
        return f"{name}({status})"
    return f"exit code {status}"


def likely_cause(status: int) -> str:
    """What such an end often comes from, as the continuation of a sentence; empty if there is nothing to say."""
    if status >= 0:
        return "; something in the source or a stage ended the process"
    return {
        -signal.SIGSEGV: "; a crash in native code",
        -signal.SIGBUS: "; often a memory-mapped file that was shortened",
    }.get(status, "")
