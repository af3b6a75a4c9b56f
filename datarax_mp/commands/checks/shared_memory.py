"""Where batches and sources lie that several processes look at."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from datarax_mp.commands.checks.calls import refusal
from datarax_mp.commands.checks.finding import Finding, gigabytes
from datarax_mp.ring.segment import Segment, SharedMemoryError

_LITTLE = 1 << 30  # bytes
_TRIED = 1 << 20


def shared_memory(path: str = "/dev/shm") -> Iterator[Finding]:
    """How large /dev/shm is and what stands in for it, and whether shared memory can be had at all.

    Args:
        path: the mount, for tests.
    """
    instead = refusal("memfd_create") is None
    try:
        status = os.statvfs(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES):
            raise
        size, found = 0, "is not there"
    else:
        size = status.f_bavail * status.f_frsize
        found = f"{gigabytes(size)} free of {gigabytes(status.f_blocks * status.f_frsize)}"
    if instead:
        found += "; what does not fit comes from memfd_create, which no mount bounds"
    remedy = ""
    if size < _LITTLE and not instead:
        remedy = (
            "batches in flight and sources in memory have to fit there, because memfd_create is refused: make it "
            "larger (docker run --shm-size=8g, an emptyDir with medium: Memory, mount -o remount,size=8g /dev/shm)"
        )
    yield Finding(path, found, remedy)
    try:
        Segment.create(_TRIED, "a trial", "make /dev/shm larger").close()
    except SharedMemoryError as error:
        remedy = 'num_workers=0 and workers="threads" need none'
        yield Finding("shared memory", str(error), remedy, works=False)
