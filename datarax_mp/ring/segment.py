"""A piece of memory that other processes can map.

It is a file without a name (see ``files``), so that no kill leaves it behind. Other processes get the descriptor.
"""

from __future__ import annotations

import errno
import logging
import math
import mmap
import os
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial

from datarax_mp.core.descriptors import identity, is_still, standard_occupied
from datarax_mp.core.refusals import in_words, is_refusal
from datarax_mp.core.spec import align
from datarax_mp.core.strays import is_interruption
from datarax_mp.core.undisturbed import undisturbed
from datarax_mp.ring import files, limits
from datarax_mp.ring.huge_pages import HUGE, map_aligned

log = logging.getLogger("datarax_mp")


class SharedMemoryError(OSError):
    """Shared memory is too small for what was asked; the message says how much is needed and what to change."""


class Segment:
    """Owner of one descriptor of shared memory and of this process's mapping of it.

    The mapping lives on while an array looks into it, also after ``close()``.

    Attributes:
        fd: the descriptor; it travels to workers over their channel.
        size: bytes, a multiple of the page size.
        unreserved: bytes of it that are not allocated yet.
    """

    fd = -1  # what __del__ finds if an interrupt comes before the descriptor
    unreserved = 0

    def __init__(self, fd: int, size: int, purpose: str = "", remedy: str = "") -> None:
        self.fd = fd
        self.size = size
        self._words = purpose, remedy
        self._left, self._looked = 0.0, 0.0  # memory that there was, and when
        self._identity = identity(fd)
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls, size: int, purpose: str, remedy: str, *, bit_by_bit: bool = False) -> Segment:
        """Allocate a segment of at least ``size`` bytes.

        Args:
            size: bytes.
            purpose: what it is for, as the message is to say it ("the ring: 9 slots of 2.0 MB").
            remedy: what the user can change.
            bit_by_bit: whether only the first page is allocated now, and others by ``reserve``. Whether there is memory
                for all of it is looked at now.

        Raises:
            SharedMemoryError: there is not so much shared memory.
        """
        size = max(align(size, mmap.PAGESIZE), mmap.PAGESIZE)
        room = limits.room() if size > _UNASKED else None
        if room is not None and size > room.size - _promised():
            raise _too_small(size, purpose, remedy, room)
        first = mmap.PAGESIZE if bit_by_bit else None

        def make() -> Segment:
            return cls(files.create(size, partial(_log_small, purpose), first=first), size, purpose, remedy)

        # Neither can Ctrl-C come between a descriptor and its owner, then, or between a name and its removal.
        made = undisturbed(make)
        if isinstance(made, OSError):
            raise _refusal(made, size, purpose, remedy, room) from made
        if isinstance(made, BaseException):
            raise made
        if bit_by_bit:
            made.unreserved = size
            made._left, made._looked = math.inf if room is None else room.size, time.monotonic()
            _growing.add(made)
        return made

    @classmethod
    def empty(cls) -> Segment:
        """A segment of no bytes, for another process to write to.

        Raises:
            OSError: no further descriptor can be had.
        """
        made = undisturbed(lambda: cls(files.create_empty(), 0))  # as above
        if isinstance(made, BaseException):
            raise made
        return made

    def reserve(self, start: int, stop: int) -> None:
        """Allocate a part of a segment that is allocated bit by bit, before it is touched.

        Args:
            start: where the part begins, in bytes; nothing has been written there yet.
            stop: where it ends.

        Raises:
            SharedMemoryError: there is not so much memory any more.
        """
        self._make_sure_of(stop - start)
        try:
            if self.intact():
                files.reserve(self.fd, start, stop)
            elif self._map is not None:  # other code has closed the descriptor; the mapping does, only without a check
                self._map[start:stop] = bytes(stop - start)
        except OSError as error:
            if not is_refusal(error) or is_interruption(error):
                raise
            raise _refusal(error, self.size, *self._words, limits.room()) from error
        self.unreserved -= stop - start

    def _make_sure_of(self, size: int) -> None:
        """Where a control group has no memory left, the kernel kills; so it is asked for now and then."""
        now = time.monotonic()
        most = min(size + HUGE, self.unreserved)  # with what huge pages take beyond its ends
        if most > self._left or now - self._looked > _LOOK_SECONDS:
            room = limits.room()
            self._looked, self._left = now, math.inf if room is None else room.size
            if room is not None and most > room.size:
                raise _too_small(size, *self._words, room)
        self._left -= most

    def map(self, *, writable: bool = True, private: bool = False, kind: type[mmap.mmap] | None = None) -> mmap.mmap:
        """Map the whole segment into this process, where its huge pages are such, if it has any.

        Args:
            writable: whether the mapping may be written to.
            private: whether writes stay in this process (copy on write) instead of being shared.
            kind: the class of the mapping; None is ``mmap.mmap``.
        """
        if self._map is None:
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            flags = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
            make = partial(kind or mmap.mmap, self.fd, self.size, flags=flags, prot=protection)
            try:
                with standard_occupied():  # a mapping has a copy of the descriptor
                    self._map = map_aligned(make, self.size)
            except OSError as error:
                if not is_refusal(error) or is_interruption(error):
                    raise
                raise _unmapped(error, self.size) from error
        return self._map

    def intact(self) -> bool:
        """Whether the descriptor is still open; the mapping lives on without it."""
        return self.fd >= 0 and identity(self.fd) == self._identity

    def descriptor(self) -> int:
        """The descriptor, to be sent to another process.

        Raises:
            SharedMemoryError: it is not open any more, and the number may be another file's by now.
        """
        if not self.intact():
            raise SharedMemoryError(
                f"descriptor {self.fd}, of shared memory, has been closed by other code in this process "
                "(os.closerange, say). Start the epoch anew, or make the pipeline after that code has run"
            )
        return self.fd

    def close(self, _close: Callable[[int], None] = os.close) -> None:
        """Give the descriptor back and let go of the mapping. Calling it again does nothing."""
        self._map = None
        while self.fd >= 0:
            ours = is_still(self.fd, self._identity)
            fd, self.fd = self.fd, -1  # from here to the end no handler comes: otherwise nobody would know the number
            if ours:
                _close(fd)

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _ending():  # then the system frees it, and half of what this calls may be gone
            self.close()


_LOOK_SECONDS = 1.0  # how long it is believed how much memory is left
_UNASKED = 1 << 20  # bytes; to ask for the limits takes half a millisecond, and so little is always there

_growing: weakref.WeakSet[Segment] = weakref.WeakSet()  # those that are allocated bit by bit


def _promised() -> int:
    """Bytes that segments of this process may still come to need."""
    return sum(segment.unreserved for segment in list(_growing) if segment.fd >= 0)


_logged = False


def _log_small(purpose: str) -> None:
    global _logged
    if not _logged:
        _logged = True
        log.info("/dev/shm (%s) is too small for %s; anonymous memory is used instead", _shm_room(), purpose)


def _refusal(error: OSError, size: int, purpose: str, remedy: str, room: limits.Room | None) -> SharedMemoryError:
    if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
        return _too_small(size, purpose, remedy, room)
    return SharedMemoryError(
        f"there can be no shared memory for {purpose}, {megabytes(size)}: {in_words(error)}. Or use num_workers=0"
    )


def _unmapped(error: OSError, size: int) -> SharedMemoryError:
    remedy = ". Lower batch_size, num_workers or prefetch_size, or raise that limit" * (error.errno == errno.ENOMEM)
    return SharedMemoryError(
        f"{megabytes(size)} of shared memory cannot be mapped into process {os.getpid()}: {in_words(error)}{remedy}"
    )


def _too_small(size: int, purpose: str, remedy: str, room: limits.Room | None) -> SharedMemoryError:
    left = "" if room is None else f", {megabytes(room.size)} left in all (within {room.within})"
    return SharedMemoryError(
        f"shared memory is too small for {purpose}: {megabytes(size)} needed, {_shm_room()} in /dev/shm{left}. "
        f"{remedy}, or give the container more memory, or use num_workers=0"
    )


def _shm_room() -> str:
    if not os.path.isdir("/dev/shm"):
        return "an unknown amount free"
    stat = os.statvfs("/dev/shm")
    return f"{megabytes(stat.f_bavail * stat.f_frsize)} free of {megabytes(stat.f_blocks * stat.f_frsize)}"


def megabytes(size: int) -> str:
    """Bytes as text for messages: ``megabytes(1_500_000) == "1.5 MB"``."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
