"""Errors of worker processes, and how an exception travels from there to the caller."""

from __future__ import annotations

import pickle
import signal
import traceback
from dataclasses import dataclass

import cloudpickle

_LONGEST_LINE = 500


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
        summary: its type and message, with its notes.
        text: the formatted traceback.
    """

    pickled: bytes | None
    summary: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> RemoteError:
        """Pack an exception that is being handled."""
        summary = "".join(traceback.format_exception_only(error)).strip()
        text = "".join(traceback.format_exception(error))
        try:
            pickled = cloudpickle.dumps(error)
        except Exception:  # whatever its __reduce__ does: the text still arrives
            pickled = None
        return cls(pickled, summary, text)

    def restore(self) -> BaseException:
        """The exception of the worker if it unpickles, else a WorkerError with its text; its cause is the traceback."""
        error: BaseException | None = None
        if self.pickled is not None:
            try:
                error = pickle.loads(self.pickled)
            except Exception:  # an __init__ with other arguments than .args, say
                error = None
        # SystemExit and KeyboardInterrupt of a worker must not end the caller.
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            error = WorkerError(f"a worker raised {self.summary}")
        error.__cause__ = WorkerTraceback(self.text)
        return error


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
        -signal.SIGKILL: "; often the kernel, out of memory",
        -signal.SIGSEGV: "; a crash in native code",
        -signal.SIGBUS: "; often a memory-mapped file that was shortened",
    }.get(status, "")
