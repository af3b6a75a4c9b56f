"""System calls that a container or an older kernel may refuse, and what is used instead."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Callable, Iterator

from datarax_mp.commands.checks.finding import Finding
from datarax_mp.core.refusals import in_words, is_refusal
from datarax_mp.ring.files import create_empty

_PR_GET_DUMPABLE = 3  # asks, and changes nothing


def _pidfd() -> None:
    descriptor = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(descriptor, 0)
    finally:
        os.close(descriptor)


def _memfd() -> None:
    os.close(os.memfd_create("datarax_mp", os.MFD_CLOEXEC))


def _tmpfile() -> None:
    os.close(os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600))


def _fallocate() -> None:
    descriptor = create_empty()
    try:
        os.posix_fallocate(descriptor, 0, mmap.PAGESIZE)
    finally:
        os.close(descriptor)


def _prctl() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_CALLS: dict[str, tuple[Callable[[], None], str]] = {
    "pidfd": (_pidfd, "a worker's death shows at the end of its channel, and its nursery sends signals to it"),
    "memfd_create": (_memfd, "all shared memory has to fit into /dev/shm, and `top` cannot look at a job"),
    "O_TMPFILE": (_tmpfile, "shared memory comes from memfd_create, or has a name for some microseconds"),
    "fallocate": (_fallocate, "zeros are written, so that a large ring takes a moment longer to make"),
    "prctl": (_prctl, "a thread in each worker waits for the end of main, and workers have no names in `ps`"),
}


def refusal(name: str) -> str | None:
    """Why a call of this name cannot be had, in words; None if it can.

    >>> refusal("prctl") is None or "not" in refusal("prctl")
    True
    """
    try:
        _CALLS[name][0]()
    except AttributeError as error:
        return f"this Python or this system does not have it ({error})"
    except OSError as error:
        if not is_refusal(error):
            raise
        return in_words(error)
    return None


def calls() -> Iterator[Finding]:
    """The calls that are refused, each with what is used instead; one line where none is."""
    refused = {name: why for name in _CALLS if (why := refusal(name)) is not None}
    for name, why in refused.items():
        remedy = f"nothing has to be done, but: {_CALLS[name][1]}. A seccomp profile may allow it"
        yield Finding(name, why, remedy)
    if allowed := [name for name in _CALLS if name not in refused]:
        yield Finding("system calls", f"{', '.join(allowed)} can be had")
