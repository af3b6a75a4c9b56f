"""A pytest plugin that is only loaded where it is asked for: ``pytest_plugins = ["datarax_mp.testing.plugin"]``."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from datarax_mp.crews.processes.pool import pool
from datarax_mp.monitoring.live import live
from datarax_mp.ring.names import of_this_process


@pytest.fixture
def leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves workers at work or shared memory in use: a pipeline not closed, a batch or source kept.

    Worker processes that wait for the next pipeline are none of its concern; they leave after a minute.
    """
    pool().prepare()  # which has shared memory of its own, for as long as the interpreter lives,
    live.prepare()  # and so has what others can look at
    workers, memory = set(pool().pids(parked=False)), _memory()
    yield
    gc.collect()
    at_work = set(pool().pids(parked=False)) - workers
    assert not at_work, f"{len(at_work)} worker processes are still at work: close the pipeline, or use it in a `with`"
    left = _memory() - memory
    assert not left, (
        f"{len(left)} pieces of shared memory are still in use: {sorted(left)}. Somebody keeps a pipeline, a NumPy "
        "batch, or a MemorySource that workers have read"
    )


def _memory() -> set[str]:
    """Shared memory with a name, and what this process has open: descriptors of files without one, by their inode."""
    found = set(of_this_process())
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:  # no such folder: there are only names
        return found
    for descriptor in descriptors:
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if path.endswith("(deleted)") and path.startswith(("/dev/shm/", "/memfd:datarax_mp")):
                found.add(f"{path.removesuffix(' (deleted)')}, inode {os.fstat(int(descriptor)).st_ino}")
        except OSError:  # the descriptor of the listing itself
            continue
    return found
