"""Large memory lies in huge pages where the kernel has them, and is the same memory where it has not."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import MapBatch, Pipeline
from datarax_mp.core.compare import address_of
from datarax_mp.ring import Ring, Segment
from datarax_mp.ring.huge_pages import HUGE, PIECE, map_aligned


def in_huge_pages(start: int = 0, stop: int = 1 << 64) -> int:
    """Bytes of shared memory that this process has mapped as huge pages, in mappings that begin between two places."""
    found, counted = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line):
            counted = start <= int(mapping[1], 16) < stop
        elif counted and line.startswith("ShmemPmdMapped:"):
            found += int(line.split()[1]) * 1024
    return found


def huge_bytes(memory: mmap.mmap) -> int:
    """Bytes of a mapping that are in huge pages, when each page has been read."""
    np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE].sum()
    address = address_of(memory)
    return in_huge_pages(address, address + 1)


def allocated(segment: Segment) -> int:
    return os.fstat(segment.fd).st_blocks * 512


@pytest.fixture
def kernel_has_them() -> None:
    """Leave a test out where the kernel has no huge pages to give, or does not know how."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(HUGE)
        file.write(b"1")
        file.flush()
        memory = map_aligned(lambda: mmap.mmap(file.fileno(), HUGE))
        try:
            memory.madvise(25)
        except OSError as error:
            pytest.skip(f"this kernel gives no huge pages: {error}")


@pytest.mark.needs("proc", "collapse")
@pytest.mark.usefixtures("kernel_has_them")
def test_data_that_is_placed_lies_in_huge_pages_in_this_process_and_in_workers() -> None:
    def count(batch: dict[str, Any]) -> dict[str, Any]:
        return {"sum": batch["x"].sum(axis=1), "huge": np.full(len(batch["x"]), in_huge_pages())}

    source = {"x": np.arange(4 * PIECE // 8).reshape(-1, 1024)}
    expected = source["x"].sum(axis=1).tolist()
    with Pipeline(source=source, stages=[MapBatch(count)], batch_size=64, num_workers=2, output="numpy") as pipeline:
        batches = list(pipeline)
    assert [value for batch in batches for value in batch["sum"].tolist()] == expected
    assert max(batch["huge"].max() for batch in batches) >= 4 * PIECE


@pytest.mark.needs("proc", "collapse", "fallocate")
@pytest.mark.usefixtures("kernel_has_them")
def test_a_segment_and_a_ring_lie_in_huge_pages_in_every_process_that_maps_them() -> None:
    segment = Segment.create(5 * HUGE + 3 * mmap.PAGESIZE, "a test", "-")
    assert huge_bytes(segment.map()) == 5 * HUGE
    assert allocated(segment) == segment.size
    others = [Segment(os.dup(segment.fd), segment.size).map(private=private) for private in (False, True)]
    assert [huge_bytes(memory) for memory in others] == [5 * HUGE] * 2
    ring = Ring(4, 6_300_000, shared=True)  # slots do not begin where pages do
    ring.reserve()
    assert ring.segment is not None
    assert huge_bytes(ring.memory) == ring.segment.size // HUGE * HUGE


@pytest.mark.needs("fallocate")
@pytest.mark.parametrize("seed", range(5))
def test_what_lies_beside_a_part_that_gets_its_pages_stays_as_it_is(seed: int) -> None:
    draw = random.Random(seed)
    size = 7 * HUGE + 5 * mmap.PAGESIZE
    segment = Segment.create(size, "a test", "-", bit_by_bit=True)
    cuts = sorted(draw.sample(range(1, size // mmap.PAGESIZE), 12))
    bounds = [0, *(cut * mmap.PAGESIZE for cut in cuts), size]
    parts = list(itertools.pairwise(bounds))
    draw.shuffle(parts)
    memory, most = segment.map(), 0
    for number, (start, stop) in enumerate(parts, 1):
        segment.reserve(start, stop)
        memory[start:stop] = bytes([number]) * (stop - start)
        most += stop - start
        assert allocated(segment) <= 2 * most + mmap.PAGESIZE  # half of a huge page is needed at least
    assert allocated(segment) == size
    for number, (start, stop) in enumerate(parts, 1):
        assert memory[start:stop] == bytes([number]) * (stop - start)


@pytest.mark.needs("fallocate")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOMEM, errno.EAGAIN, errno.EPERM])
def test_what_the_kernel_refuses_is_done_with_small_pages(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Refusing(mmap.mmap):
        def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
            asked.append(option)
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(mmap, "mmap", Refusing)
    segment = Segment.create(3 * PIECE, "a test", "-")
    assert allocated(segment) == 3 * PIECE
    assert len(asked) == (3 if number == errno.EAGAIN else 1)  # the one that is said of a moment is asked again
    segment.map()[-1] = 1


@pytest.mark.needs("fallocate")
def test_a_kernel_that_has_to_look_for_huge_pages_is_not_asked_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    seconds = itertools.count()

    class Patient(mmap.mmap):
        def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
            asked.append(option)

    monkeypatch.setattr(mmap, "mmap", Patient)
    monkeypatch.setattr(time, "thread_time", lambda: float(next(seconds)))
    segment = Segment.create(20 * PIECE, "a test", "-")
    assert 1 <= len(asked) <= 4
    assert allocated(segment) == segment.size  # nor is it believed to have given any


@pytest.mark.needs("proc")
@pytest.mark.parametrize("size", [HUGE, 3 * HUGE, 3 * HUGE + mmap.PAGESIZE, 5 * HUGE - 7 * mmap.PAGESIZE, 9_633_792])
def test_a_mapping_begins_where_a_huge_page_may_and_nothing_else_stays_mapped(size: int) -> None:
    segment = Segment.create(size, "a test", "-")
    descriptors, before = psutil.Process().num_fds(), mapped()
    kept = []
    for number in range(12):
        memory = map_aligned(lambda: mmap.mmap(segment.fd, segment.size))
        assert address_of(memory) % HUGE == 0
        if number % 3:  # otherwise there is a gap from here on
            kept.append(memory)
    del memory
    assert mapped() - before == len(kept) * segment.size
    kept.clear()
    assert (psutil.Process().num_fds(), mapped()) == (descriptors, before)


def mapped() -> int:
    """Bytes of files in shared memory, and of what no one may touch, that this process has mapped."""
    found = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) (---p|.* /dev/shm/|.* /memfd:)", line)
        found += int(mapping[2], 16) - int(mapping[1], 16) if mapping else 0
    return found


def test_where_there_is_room_for_one_mapping_alone_it_is_taken_where_it_lies() -> None:
    made: list[mmap.mmap] = []

    def make() -> mmap.mmap:
        if made:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        made.append(mmap.mmap(-1, 3 * HUGE + mmap.PAGESIZE))
        return made[0]

    assert map_aligned(make) is made[0]
