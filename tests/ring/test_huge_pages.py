"""Large memory lies in huge pages where the kernel has them, and is the same memory where it has not."""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import random
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import MapBatch, Pipeline
from datarax_mp.core.compare import address_of
from datarax_mp.ring import Ring, Segment, files
from datarax_mp.ring.files import has_huge_pages
from datarax_mp.ring.huge_pages import HUGE, PIECE, HugePages, advise, map_aligned
from tests.lines import AtLine, Lines, count
from tests.processes import SECONDS


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
def kernel_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a test out where the kernel has no huge pages to give, does not know how, or has run out of them.

    It is asked until it gives what it refuses for a moment, and no matter how long an earlier piece has taken.
    """
    if not has_huge_pages():
        pytest.skip("this kernel gives no huge pages")

    def tell(address: int, size: int, advice: int) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return advise(address, size, advice)
            except OSError as error:
                if error.errno in (errno.ENOMEM, errno.EBUSY):  # the latter is of a control group
                    pytest.skip("this machine has no huge pages left")
                if error.errno != errno.EAGAIN or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    monkeypatch.setattr(files, "huge_pages", HugePages(tell, clock=lambda: 0.0))


@pytest.mark.needs("proc", "collapse")
@pytest.mark.usefixtures("kernel_has_them")
def test_data_that_is_placed_lies_in_huge_pages_in_this_process_and_in_workers() -> None:
    def count(batch: dict[str, Any]) -> dict[str, Any]:
        return {"sum": batch["x"].sum(axis=1), "huge": np.full(len(batch["x"]), in_huge_pages())}

    source = {"x": np.arange(16 * HUGE // 8).reshape(-1, 1024)}
    expected = source["x"].sum(axis=1).tolist()
    # One worker, which meets all of it: where two share the work, each has what it has met.
    with Pipeline(source=source, stages=[MapBatch(count)], batch_size=64, num_workers=1, output="numpy") as pipeline:
        batches = list(pipeline)
    assert [value for batch in batches for value in batch["sum"].tolist()] == expected
    assert max(batch["huge"].max() for batch in batches) >= 16 * HUGE


@pytest.mark.needs("proc", "collapse", "fallocate")
@pytest.mark.usefixtures("kernel_has_them", "pages_as_asked")
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
@pytest.mark.usefixtures("pages_as_asked")
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


class Kernel:
    """One that is asked for huge pages and gives none; each call takes some seconds.

    Attributes:
        now: the time.
        pieces: bytes of what huge pages were asked for.
    """

    def __init__(self, number: int = 0, seconds: float = 0.0) -> None:
        self.number, self.seconds = number, seconds
        self.now = 0.0
        self.pieces: list[int] = []

    def tell(self, address: int, size: int, advice: int) -> None:
        if size == mmap.PAGESIZE:
            return  # that there is to be a page
        self.pieces.append(size)
        self.now += self.seconds
        if self.number:
            raise OSError(self.number, os.strerror(self.number))

    def ask(self, pages: HugePages, size: int) -> list[int]:
        """The bytes that are asked for when so many are wanted."""
        self.pieces.clear()
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            pages.give(file.fileno(), 0, size)
        return self.pieces


def test_pages_are_asked_for_piece_by_piece_and_no_further_than_the_last_whole_one() -> None:
    kernel = Kernel()
    pages = HugePages(kernel.tell, lambda: kernel.now)
    assert kernel.ask(pages, 2 * PIECE + 3 * HUGE + mmap.PAGESIZE) == [PIECE, PIECE, 3 * HUGE]
    assert kernel.ask(pages, HUGE - mmap.PAGESIZE) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOMEM, errno.EPERM])
def test_a_kernel_that_refuses_is_asked_again_after_a_while(number: int) -> None:
    kernel = Kernel(number)
    pages = HugePages(kernel.tell, lambda: kernel.now)
    assert kernel.ask(pages, 3 * PIECE) == [PIECE]
    assert kernel.ask(pages, 3 * PIECE) == []
    kernel.now += 60
    assert kernel.ask(pages, 3 * PIECE) == [PIECE]


def test_what_is_refused_for_a_moment_is_asked_for_the_next_piece() -> None:
    kernel = Kernel(errno.EAGAIN)
    assert kernel.ask(HugePages(kernel.tell, lambda: kernel.now), 3 * PIECE) == [PIECE] * 3


@pytest.mark.parametrize(("seconds", "most"), [(0.002, 60), (0.08, 60), (0.2, 40), (0.5, 1)])
def test_a_kernel_that_has_to_make_room_is_not_asked_for_all(seconds: float, most: int) -> None:
    kernel = Kernel(seconds=seconds)
    pages = HugePages(kernel.tell, lambda: kernel.now)
    asked = len(kernel.ask(pages, 60 * PIECE))
    assert asked <= most
    assert (asked == 60) == (most == 60)
    assert asked == 60 or not kernel.ask(pages, PIECE)


@pytest.mark.needs("fallocate")
@pytest.mark.usefixtures("pages_as_asked")
def test_no_kernels_word_is_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(files, "huge_pages", HugePages(kernel.tell))
    segment = Segment.create(3 * PIECE, "a test", "-")
    assert kernel.pieces == [PIECE] * 3
    assert allocated(segment) == segment.size


# In a process of its own: in this one, threads and garbage of other tests take addresses, and give them back.
MAPPED = r"""
import mmap, os, re, signal, tempfile
from pathlib import Path
from datarax_mp.core.compare import address_of
from datarax_mp.ring.huge_pages import HUGE, HugePages, map_aligned

def mapped():
    '''Bytes of files in shared memory that this process has mapped, and of addresses that it has taken for nothing.'''
    found = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) (---p|.* /dev/shm/)", line):
            found += int(mapping[2], 16) - int(mapping[1], 16)
    return found
"""


@pytest.mark.needs("proc")
def test_what_a_signal_handler_raises_comes_through_and_nothing_stays_mapped(run_script: Callable[..., Any]) -> None:
    told = run_script(
        MAPPED
        + """
import errno

def too_late(*_):
    raise OSError(errno.EAGAIN, "not now")

def tell(*_):
    print(mapped() - before)
    signal.raise_signal(signal.SIGUSR2)

signal.signal(signal.SIGUSR2, too_late)
before = mapped()
with tempfile.TemporaryFile() as file:
    file.truncate(HUGE)
    try:
        HugePages(tell).give(file.fileno(), 0, HUGE)
    except OSError as error:
        print(error)
print(mapped() - before)
"""
    ).stdout
    assert re.fullmatch(r"[1-9]\d*\n\[Errno \d+\] not now\n0\n", told)


@pytest.mark.needs("proc")
def test_a_mapping_begins_where_a_huge_page_may_and_nothing_else_stays_mapped(run_script: Callable[..., Any]) -> None:
    run_script(
        MAPPED
        + """
def check(size, file):
    file.truncate(size)
    descriptors, before = os.listdir("/proc/self/fd"), mapped()
    kept = []
    for number in range(12):
        memory = map_aligned(lambda: mmap.mmap(file.fileno(), size), size)
        assert address_of(memory) % HUGE == 0
        if number % 3:  # otherwise there is a gap from here on
            kept.append(memory)
    del memory
    assert mapped() - before == len(kept) * size, size
    kept.clear()
    assert (os.listdir("/proc/self/fd"), mapped()) == (descriptors, before), size

for size in (HUGE, 3 * HUGE, 3 * HUGE + mmap.PAGESIZE, 5 * HUGE - 7 * mmap.PAGESIZE, 9_633_792):
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        check(size, file)
"""
    )


def mapped_of(inode: int) -> int:
    """Bytes of a file in /dev/shm that this process has mapped."""
    found = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) +/dev/shm/", line)
        if mapping and int(mapping[3]) == inode:
            found += int(mapping[2], 16) - int(mapping[1], 16)
    return found


def test_where_there_is_room_for_one_mapping_alone_it_is_taken_where_it_lies() -> None:
    made: list[mmap.mmap] = []
    size = 3 * HUGE

    def make() -> mmap.mmap:
        if made:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        made.append(memory)
        return memory

    found = map_aligned(make, size)  # which does not fit where it should lie
    assert found is made[0]


class Stopped(BaseException):
    """What a signal handler raises."""


@pytest.mark.needs("proc")
def test_whatever_comes_in_at_any_line_nothing_of_others_is_unmapped() -> None:
    lines = Lines(lambda frame: frame.f_code.co_filename.endswith("huge_pages.py"), lambda text: False)
    size = 3 * HUGE + mmap.PAGESIZE

    def stop() -> None:
        raise Stopped

    def use() -> None:
        map_aligned(lambda: mmap.mmap(file.fileno(), size), size)

    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(size)
        use()
        around = [np.full(1 << 16, number) for number in range(64)]
        beside = [mmap.mmap(file.fileno(), size) for _ in range(8)]
        inode = os.fstat(file.fileno()).st_ino
        total, before = count(use, lines), mapped_of(inode)
        assert before == len(beside) * size
        for line in range(1, total + 1):
            with contextlib.suppress(Stopped), AtLine(line, stop, lines):
                use()
        assert mapped_of(inode) == before
        assert all((array == number).all() for number, array in enumerate(around))
