"""Pages of two megabytes, for memory that is large and read at random.

Ordinary pages have four kilobytes: 315 MB are 77,000, each of which is cleared and met for the first time by itself, in
every process, and of whose addresses a processor remembers some thousands. Two cores, 315 MB, Linux 6.18
(``scripts/measure_pages.py``):

                                                  small pages    huge ones
    giving pages to a file, and filling it        180 ms         32 ms
    gathering 256 rows of 3 kB, two processes     75 - 78 us     62 - 66 us

The kernel makes them when it is asked to (``MADV_COLLAPSE``, Linux 6.1), also where ``shmem_enabled`` is "never", as it
is on most machines; and from a single page that has been touched, so that nothing is cleared twice. A process has them
as such where its mapping lies as the file does. Nothing but speed depends on it: what is refused is done with small
pages.
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
from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.spec import align
from datarax_mp.core.strays import is_interruption

HUGE = 1 << 21  # bytes; where the kernel has another size, it gives none
PIECE = 4 * HUGE  # what is asked for in one call, which keeps signals waiting, and other threads

_MADV_COLLAPSE = 25  # unknown to ``mmap``, as is the next one
_MAP_FIXED_NOREPLACE = 0x100000
_TRIES = 16  # each fills a gap
_SLOW = 0.012  # seconds for a piece; five times as long as it takes where the kernel need not make room
_MOST_SLOW = 2.0  # seconds for slow ones altogether: then memory is so fragmented that it is not worth it

_libc: Any = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def map_aligned(make: Callable[[], mmap.mmap]) -> mmap.mmap:
    """A mapping that begins at a multiple of ``HUGE`` in memory, if that can be had; else one that does not.

    The kernel puts a mapping right below another one, or into a gap. So the first one shows where the next one will be,
    and what has to be taken beforehand for that to be the right place.

    Args:
        make: maps from a multiple of ``HUGE`` in a file on.
    """
    made = [make()]
    size = align(len(made[0]), mmap.PAGESIZE)
    if sys.platform != "linux" or size < HUGE:
        return made[0]
    for _ in range(_TRIES):  # those that lie elsewhere are kept meanwhile, for they fill the gaps
        address = address_of(made[-1])
        if not address % HUGE:
            return made[-1]
        between = (address - size) % HUGE
        try:
            with _taken(address - between, between):
                made.append(make())
        except OSError as error:  # there is no room for two, say
            if not is_refusal(error) or is_interruption(error):
                raise
            break
    return made[0]


@contextlib.contextmanager
def _taken(start: int, size: int) -> Iterator[None]:
    """Keep addresses from being given out, if nobody has them."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
    taken = size > 0 and _libc.mmap(start, size, 0, flags, -1, 0) == start
    try:
        yield
    finally:
        if taken:
            _libc.munmap(start, size)


class HugePages:
    """Gives huge pages to a part of a file of shared memory, for as long as the kernel has some.

    A page of which the part has half or less is left to small ones. What else is in a huge page stays as it is, also
    when others write to it just now.

    Args:
        descriptor: of the file.
        start: where the part begins, in bytes; nothing has been written there yet.
        stop: where it ends.
    """

    def __init__(self, descriptor: int, start: int, stop: int) -> None:
        self._descriptor, self._slow = descriptor, 0.0
        self._memory: mmap.mmap | None = None
        self._low, self._high = align(start - HUGE // 2 + 1, HUGE), (stop + HUGE // 2 - 1) // HUGE * HUGE
        if sys.platform == "linux" and stop - start > HUGE // 2:
            self._high = min(self._high, os.fstat(descriptor).st_size // HUGE * HUGE)
            self._memory = self._mapped() if self._low < self._high else None

    def _mapped(self) -> mmap.mmap | None:
        size = self._high - self._low
        try:
            memory = map_aligned(lambda: mmap.mmap(self._descriptor, size, offset=self._low))
        except OSError as error:
            if not is_refusal(error) or is_interruption(error):
                raise
            return None
        return None if address_of(memory) % HUGE else memory

    def give(self, start: int, stop: int) -> None:
        """Give huge pages to a piece of the part, as far as there are any. Small ones are still to be given to it.

        Args:
            start: where the piece begins.
            stop: where it ends, no further than the next multiple of ``PIECE``.
        """
        low, high = max(start // HUGE * HUGE, self._low), min(align(stop, HUGE), self._high)
        if self._memory is None or low >= high:
            return
        began = time.thread_time()
        try:
            for page in range(low, high, HUGE):  # of nothing at all the kernel makes none
                os.pwrite(self._descriptor, b"\0", max(page, start))
            self._memory.madvise(_MADV_COLLAPSE, low - self._low, high - low)
        except OSError as error:
            if not is_refusal(error) or is_interruption(error):
                raise
            if error.errno != errno.EAGAIN:  # which is about this piece alone
                self._memory = None
        spent = time.thread_time() - began
        self._slow += spent if spent > _SLOW else 0.0
        if self._slow > _MOST_SLOW:
            self._memory = None
