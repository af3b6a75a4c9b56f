"""Files of shared memory that have no name, by whatever means the system has.

    where                               what may be missing
    /dev/shm, opened with O_TMPFILE     the mount is small, or not there; the flag is not known (gVisor)
    memfd_create                        the call is forbidden, or not there
    shm_open and unlink                 nothing on a POSIX system, but the file has a name for some microseconds

A file without a name is left behind by no kill: the memory lives exactly as long as somebody holds its descriptor or a
mapping. Pages are allocated before they are touched, so that what is too small is an error here and not a SIGBUS at the
first touch much later. Only the last way can leave a name; see ``names``.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Callable

from datarax_mp.core.descriptors import above_standard
from datarax_mp.core.strays import is_interruption
from datarax_mp.core.undisturbed import undisturbed
from datarax_mp.core.whole import write_at
from datarax_mp.ring.huge_pages import HUGE, HugePages, huge_pages
from datarax_mp.ring.names import new_name, reclaim

log = logging.getLogger("datarax_mp")

_SHM = "/dev/shm"
_MODE = 0o600
_CHUNK = 1 << 18
_REFUSED = {errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL}
_FINAL = {errno.EMFILE, errno.ENFILE, errno.EFBIG}  # another way would meet the same limit


def create(size: int, on_small: Callable[[], None] = lambda: None, *, first: int | None = None) -> int:
    """The descriptor of a file of ``size`` bytes, which only this user may open.

    Called where no handler of a signal runs, so that nothing comes between a name and its removal, or between a
    descriptor and its owner.

    Args:
        size: bytes.
        on_small: called when /dev/shm has too little room and another way is tried.
        first: bytes that have pages; ``reserve`` gives them to the others. None is all.

    Raises:
        OSError: there is not so much memory, or no further descriptor; what was met last.
    """
    _reclaim_once()
    failure = OSError(errno.ENOSYS, "this system has no shared memory")
    # What is allocated bit by bit should not meet a mount that others have filled meanwhile: memfd has none.
    for way in (_in_shm, _memfd, _named) if first is None else (_memfd, _in_shm, _named):
        try:
            return _allocated(above_standard(way()), size, size if first is None else first, mounted=way is not _memfd)
        except OSError as error:
            if error.errno is None or error.errno in _FINAL:
                raise
            if failure.errno != errno.ENOSPC or error.errno not in _REFUSED:
                failure = error
            if way is _in_shm and error.errno == errno.ENOSPC:
                on_small()
    raise failure


def create_empty() -> int:
    """The descriptor of a file without pages, which grows as it is written to; a write says where there is no room.

    Raises:
        OSError: no further descriptor can be had.
    """
    _reclaim_once()
    failure = OSError(errno.ENOSYS, "this system has no shared memory")
    for way in (_memfd, _in_shm, _named):  # no mount bounds the first
        try:
            return above_standard(way())
        except OSError as error:
            if error.errno is None or error.errno in _FINAL:
                raise
            failure = error
    raise failure


def _in_shm() -> int:
    if not hasattr(os, "O_TMPFILE"):
        raise OSError(errno.ENOSYS, "no O_TMPFILE")
    return os.open(_SHM, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, _MODE)  # O_EXCL: no name can be given to it later


def _memfd() -> int:
    if not hasattr(os, "memfd_create"):
        raise OSError(errno.ENOSYS, "no memfd_create")
    descriptor = os.memfd_create("datarax_mp", os.MFD_CLOEXEC)
    os.fchmod(descriptor, _MODE)
    return descriptor


def _named() -> int:
    try:
        import _posixshmem  # type: ignore[import-not-found]  # what ``multiprocessing.shared_memory`` is made of, without its resource tracker
    except ImportError as error:
        raise OSError(errno.ENOSYS, "no shm_open") from error
    name = f"/{new_name()}"
    descriptor: int = _posixshmem.shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE)
    try:
        _posixshmem.shm_unlink(name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _allocated(descriptor: int, size: int, first: int, *, mounted: bool) -> int:
    """The descriptor, with its first pages; closed if there are not enough, or there will not be."""
    try:
        os.ftruncate(descriptor, size)
        if mounted:  # asked beforehand, so that nothing is filled in vain
            room = os.fstatvfs(descriptor)
            if room.f_blocks and room.f_bavail * room.f_frsize < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(descriptor, 0, first)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def reserve(descriptor: int, start: int, stop: int) -> None:
    """Give pages to a part of a file; nothing has been written there yet.

    It is done in pieces, since the kernel begins a piece anew that a signal comes into: a timer that rings often would
    keep it from ever coming to an end.

    Args:
        descriptor: of a file that was created here.
        start: where the part begins, in bytes.
        stop: where it ends.

    Raises:
        OSError: there is not so much memory.
    """
    if not hasattr(os, "posix_fallocate"):
        return  # macOS has none and none is needed: its memory is swap-backed
    if stop - start > HUGE // 2:  # less gets none
        # An interrupt would leave mapped what is mapped for that.
        outcome = undisturbed(lambda: huge_pages.give(descriptor, start, stop))
        if isinstance(outcome, BaseException):
            raise outcome
    for place in range(start, stop, _CHUNK):
        size = min(stop - place, _CHUNK)
        try:
            os.posix_fallocate(descriptor, place, size)  # which finds those, and shows where there is too little memory
        except OSError as error:
            if error.errno not in _REFUSED or is_interruption(error):
                raise
            write_at(descriptor, place, memoryview(bytes(size)))


def has_huge_pages() -> bool:
    """Whether the kernel gives any just now.

    Raises:
        OSError: no file can be had to try it with.
    """
    descriptor = create_empty()
    try:
        os.ftruncate(descriptor, HUGE)
        HugePages().give(descriptor, 0, HUGE)
        return os.fstat(descriptor).st_blocks * 512 == HUGE
    finally:
        os.close(descriptor)


@functools.cache
def _reclaim_once() -> None:
    if removed := reclaim():
        log.warning("removed from /dev/shm what killed runs had left: %s", ", ".join(removed))
