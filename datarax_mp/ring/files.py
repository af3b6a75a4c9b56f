"""Files of shared memory that have no name, by whatever means the system has.

    where                               what may be missing
    /dev/shm, opened with O_TMPFILE     the mount is small, or not there; the flag is not known (gVisor)
    memfd_create                        the call is forbidden, or not there
    shm_open and unlink                 nothing on a POSIX system, but the file has a name for some microseconds

A file without a name is left behind by no kill: the memory lives exactly as long as somebody holds its descriptor or a
mapping. All pages are allocated at once, so that what is too small is an error here and not a SIGBUS at the first touch
much later. Only the last way can leave a name; see ``names``.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Callable

from datarax_mp.core.descriptors import above_standard
from datarax_mp.ring.names import new_name, reclaim

log = logging.getLogger("datarax_mp")

_SHM = "/dev/shm"
_MODE = 0o600
_CHUNK = 1 << 20
_REFUSED = {errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL}
_FINAL = {errno.EMFILE, errno.ENFILE, errno.EFBIG}  # another way would meet the same limit


def create(size: int, on_small: Callable[[], None] = lambda: None) -> int:
    """The descriptor of a file of ``size`` bytes with all its pages, which only this user may open.

    Called where no handler of a signal runs, so that nothing comes between a name and its removal, or between a
    descriptor and its owner.

    Args:
        size: bytes.
        on_small: called when /dev/shm has too little room and another way is tried.

    Raises:
        OSError: there is not so much memory, or no further descriptor; what was met last.
    """
    _reclaim_once()
    failure = OSError(errno.ENOSYS, "this system has no shared memory")
    for way in (_in_shm, _memfd, _named):
        try:
            return _allocated(above_standard(way()), size)
        except OSError as error:
            if error.errno is None or error.errno in _FINAL:
                raise
            if failure.errno != errno.ENOSPC or error.errno not in _REFUSED:
                failure = error
            if way is _in_shm and error.errno == errno.ENOSPC:
                on_small()
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


def _allocated(descriptor: int, size: int) -> int:
    """The descriptor, with its pages; closed if there are not enough."""
    try:
        os.ftruncate(descriptor, size)
        if hasattr(os, "posix_fallocate"):  # macOS has none and none is needed: its memory is swap-backed
            _reserve(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _reserve(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
        return
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
    zeros = bytes(min(size, _CHUNK))
    for start in range(0, size, _CHUNK):
        part = memoryview(zeros)[: size - start]
        while part:
            written = os.pwrite(descriptor, part, start)
            part, start = part[written:], start + written


@functools.cache
def _reclaim_once() -> None:
    if removed := reclaim():
        log.warning("removed from /dev/shm what killed runs had left: %s", ", ".join(removed))
