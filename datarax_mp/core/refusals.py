"""What the system means when it refuses something, with the limit that was met and how to raise it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from datarax_mp.core.descriptors import open_count
from datarax_mp.core.notes import add_note

Answer = TypeVar("Answer")


def is_refusal(error: OSError) -> bool:
    """Whether the system has raised this: an OSError that a signal handler raises (``TimeoutError``) has no number."""
    return error.errno is not None


def unless_refused(ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """What the system answers, or something else where it refuses to; what a signal handler raises comes through.

    >>> import os
    >>> unless_refused(lambda: os.listdir("/no/such/folder"), [])
    []
    """
    try:
        return ask()
    except OSError as error:
        if not is_refusal(error):
            raise
        return otherwise


def in_words(error: OSError) -> str:
    """Why the system refused, as a part of a sentence.

    >>> in_words(OSError(errno.ENOSYS, "Function not implemented"))
    'this system does not have the call, or forbids it (Function not implemented)'
    """
    match error.errno:
        case errno.EMFILE:
            count = open_count()
            opened = "" if count is None else f", and {count} are open"
            return (
                f"this process may have no more file descriptors: its limit is {_limit('NOFILE')}{opened}. "
                "Raise it (ulimit -n), or close some"
            )
        case errno.ENFILE:
            return "the whole system has no more file descriptors (fs.file-max)"
        case errno.EAGAIN:
            return (
                f"no more processes or threads are allowed: the user's limit is {_limit('NPROC')} (ulimit -u), and a "
                "control group may have one, too (pids.max)"
            )
        case errno.ENOMEM:
            return f"there is no more memory: {address_space()}"
        case errno.EFBIG:
            return (
                f"no file may be larger than {_limit('FSIZE')} bytes, and shared memory counts as a file. "
                "Raise that limit (ulimit -f)"
            )
        case errno.ENOSYS | errno.EPERM | errno.EACCES:
            return f"this system does not have the call, or forbids it ({error.strerror})"
    return str(error)


def address_space() -> str:
    """What this process may map and what it has mapped, as far as the system tells."""
    limit, used = _limit("AS"), _mapped()
    limited = f"the limit (ulimit -v) is {limit}" if limit.isdigit() else "the address space is not limited (ulimit -v)"
    return limited if used is None else f"{limited}, and {used} bytes are in use"


def limited_address_space() -> str:
    """The same, where there is a limit; else an empty text."""
    return "" if _limit("AS") in ("none", "unknown") else address_space()


def note_shortage(error: BaseException) -> None:
    """Add the limit of the address space to an error that says no more than that there is no memory."""
    short = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if short and (limit := limited_address_space()):
        add_note(error, f"({limit})")


def _limit(name: str) -> str:
    try:
        import resource  # delayed: not everywhere
    except ImportError:
        return "unknown"
    soft, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    return "none" if soft == resource.RLIM_INFINITY else str(soft)


def _mapped() -> int | None:
    """Bytes of address space in use."""
    pages = unless_refused(Path("/proc/self/statm").read_text, "").split()
    return int(pages[0]) * os.sysconf("SC_PAGESIZE") if pages else None
