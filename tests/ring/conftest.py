"""What tests of shared memory share."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile

import pytest

from datarax_mp.ring.files import create_empty
from datarax_mp.ring.huge_pages import HUGE


def _given_for_a_page(descriptor: int) -> int:
    """Bytes that a file gets which is asked to have a single page; closes it."""
    try:
        os.ftruncate(descriptor, 2 * HUGE)
        os.posix_fallocate(descriptor, 0, mmap.PAGESIZE)
        return os.fstat(descriptor).st_blocks * 512
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session")
def pages_as_asked() -> None:
    """Leave a test out where the kernel gives large pages unasked (``shmem_enabled``, or the ``huge=`` of a mount)."""
    found = [_given_for_a_page(create_empty())]
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir="/dev/shm") as file:
        found.append(_given_for_a_page(os.dup(file.fileno())))
    if max(found) > mmap.PAGESIZE:
        pytest.skip("this kernel gives large pages unasked")
