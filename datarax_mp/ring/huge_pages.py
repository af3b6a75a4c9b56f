"""Pages of two megabytes, for memory that is large and read at random.

Ordinary pages have four kilobytes: 315 MB are 77,000, each of which is cleared and met for the first time by itself, in
every process, and of whose addresses a processor remembers some thousands. Two cores, 315 MB, Linux 6.18
(``scripts/measure_pages.py``):

                                                  small pages    huge ones
    giving pages to a file, and filling it        168 ms         33 ms
    gathering 256 rows of 3 kB, two processes     65 - 76 us     59 - 61 us

The kernel makes them when it is asked to (``MADV_COLLAPSE``, Linux 6.1), also where ``shmem_enabled`` is "never", as it
is on most machines; and from a single page that is there, so that nothing is cleared twice. A process has them as such
where its mapping lies as the file does. Nothing but speed depends on it: what is refused stays in small pages, and what
takes long is not asked for again for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from datarax_mp.core.compare import address_of
from datarax_mp.core.libc import open_libc
from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.spec import align
from datarax_mp.core.strays import is_interruption

HUGE = 1 << 21  # bytes; where the kernel has another size, it gives none
PIECE = 16 * HUGE  # asked for in one call, which a signal has to wait for, and which waits for all cores

# A piece takes 2 ms, or 80 where a virtual machine has never used the memory, which small pages would wait for as well.
_LONG_SECONDS = 0.25
_BYTES_PER_SECOND = 200e6
_ALLOWED_SECONDS = 1.0  # beyond that
_PAUSE_SECONDS = 30.0
_TRIES = 8

_MADV_POPULATE_WRITE, _MADV_COLLAPSE = 23, 25  # unknown to ``mmap``, as are the next ones
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000
_NOTHING = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0) | _MAP_NORESERVE

_libc: Any = open_libc() if sys.platform == "linux" else None  # its calls let other threads run, unlike ``mmap``'s
if _libc is not None:
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    _libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    _libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def map_aligned(make: Callable[[], mmap.mmap], size: int) -> mmap.mmap:
    """A mapping that begins at a multiple of ``HUGE`` in memory, if that can be had; else one that does not.

    Args:
        make: maps from a multiple of ``HUGE`` in a file on, wherever the kernel has a gap.
        size: bytes that it maps.
    """
    if _libc is None or size < HUGE:
        return make()
    made = []
    for _ in range(_TRIES):  # those that lie elsewhere are kept meanwhile, for they fill the gaps that come first
        try:
            with _gap(align(size, mmap.PAGESIZE)):
                made.append(make())
        except OSError as error:  # there is no room for two, say
            if not made or not is_refusal(error) or is_interruption(error):
                raise
            break
        if not address_of(made[-1]) % HUGE:
            return made[-1]
    return made[0]


@contextlib.contextmanager
def _gap(size: int) -> Iterator[None]:
    """Leave a gap of so many bytes where a mapping should lie: what is around it is taken for a moment."""
    ours: list[tuple[int, int]] = []
    try:
        if (around := _mapped(None, size + HUGE, 0, _NOTHING, -1, 0)) is not None:
            low = align(around, HUGE)
            # Known as a whole and before there is a gap: an interrupt must not make anything else go.
            ours = [(around, low - around), (low + size, around + HUGE - low)]
            _libc.munmap(low, size)
        yield
    finally:
        for place, length in ours:
            if length:
                _libc.munmap(place, length)


def _mapped(at: int | None, size: int, protection: int, flags: int, descriptor: int, offset: int) -> int | None:
    """Where something was mapped, or None if it was refused."""
    address: int | None = _libc.mmap(at, size, protection, flags, descriptor, offset)
    return None if address == ctypes.c_void_p(-1).value else address


def advise(address: int, size: int, advice: int) -> None:
    """Tell the kernel something of some memory.

    Raises:
        OSError: it refuses.
    """
    if _libc.madvise(address, size, advice):
        raise _refusal()


def _refusal() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class HugePages:
    """Asks the kernel for huge pages, as long as it gives them quickly.

    Args:
        tell: as ``advise``.
        clock: seconds.
    """

    def __init__(
        self, tell: Callable[[int, int, int], None] = advise, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._tell, self._clock = tell, clock
        self._not_before = -1e9  # the time when it may be asked again
        self._asked, self._seconds = 0, 0.0  # for how many bytes, and how long that took

    def give(self, descriptor: int, start: int, stop: int) -> None:
        """Give huge pages to a part of a file of shared memory, as far as there are any.

        A page of which the part has half or less is left out. What else is in one stays as it is, also when others
        write to it just now.

        Args:
            descriptor: of the file.
            start: where the part begins, in bytes.
            stop: where it ends.
        """
        if _libc is None or stop - start <= HUGE // 2:
            return
        low, high = align(start - HUGE // 2 + 1, HUGE), (stop + HUGE // 2 - 1) // HUGE * HUGE
        high = min(high, os.fstat(descriptor).st_size // HUGE * HUGE)
        for piece in range(low, high, PIECE):
            if self._clock() < self._not_before:
                return
            self._give_piece(descriptor, piece, min(PIECE, high - piece))

    def _give_piece(self, descriptor: int, start: int, size: int) -> None:
        began = self._clock()
        try:
            self._collapse(descriptor, start, size)
        except OSError as error:
            if not is_refusal(error) or is_interruption(error):
                raise
            if error.errno != errno.EAGAIN:  # which is about this piece alone
                self._rest()
            return
        seconds = self._clock() - began
        self._asked, self._seconds = self._asked + size, self._seconds + seconds
        if seconds > _LONG_SECONDS or self._seconds > _ALLOWED_SECONDS + self._asked / _BYTES_PER_SECOND:
            self._rest()

    def _rest(self) -> None:
        self._not_before = self._clock() + _PAUSE_SECONDS
        self._asked, self._seconds = 0, 0.0

    def _collapse(self, descriptor: int, start: int, size: int) -> None:
        """Through a mapping of its own, since only one that lies as the file does will do."""
        around = _mapped(None, size + HUGE, 0, _NOTHING, -1, 0)
        if around is None:
            raise _refusal()
        try:
            address = align(around, HUGE)
            protection = mmap.PROT_READ | mmap.PROT_WRITE
            if _mapped(address, size, protection, mmap.MAP_SHARED | _MAP_FIXED, descriptor, start) is None:
                raise _refusal()
            for page in range(address, address + size, HUGE):  # of nothing at all the kernel makes none
                self._tell(page, mmap.PAGESIZE, _MADV_POPULATE_WRITE)
            self._tell(address, size, _MADV_COLLAPSE)
        finally:
            _libc.munmap(around, size + HUGE)


huge_pages = HugePages()
