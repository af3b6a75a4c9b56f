"""A piece of memory that other processes can map.

A segment is made as a ``multiprocessing.shared_memory`` block whose name is removed before anything else happens, so
that no kill leaves it behind: from then on the memory lives exactly as long as somebody holds its descriptor or a
mapping. Other processes get the descriptor, never a name.

The pages are allocated up front: a full /dev/shm is an error here, not a SIGBUS at the first touch much later. Where
/dev/shm is small (64 MB in a container, unless somebody has said otherwise), the memory comes from ``memfd_create``:
the same kind of pages, which no mount bounds.
"""

from __future__ import annotations

import functools
import logging
import mmap
import os
import threading
from collections.abc import Callable

from datarax_mp.core.spec import align
from datarax_mp.ring import limits
from datarax_mp.ring.names import new_name, reclaim

log = logging.getLogger("datarax_mp")


class SharedMemoryError(OSError):
    """Shared memory is too small for what was asked; the message says how much is needed and what to change."""


class Segment:
    """Owner of one descriptor of shared memory and of this process's mapping of it.

    The mapping lives on while an array looks into it, also after ``close()``.

    Attributes:
        fd: the descriptor; it travels to workers over their channel.
        size: bytes, a multiple of the page size.
    """

    fd = -1  # what __del__ finds if an interrupt comes before the descriptor

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls, size: int, purpose: str, remedy: str) -> Segment:
        """Allocate a segment of at least ``size`` bytes.

        Args:
            size: bytes.
            purpose: what it is for, as the message is to say it ("the ring: 9 slots of 2.0 MB").
            remedy: what the user can change.

        Raises:
            SharedMemoryError: there is not so much shared memory.
        """
        size = max(align(size, mmap.PAGESIZE), mmap.PAGESIZE)
        room = limits.room() if size > _UNASKED else None
        if room is not None and size > room.size:
            raise _too_small(size, purpose, remedy, room)
        try:
            return _undisturbed(lambda: cls(_allocated(_unnamed_block(size), size), size))
        except OSError as error:
            if not hasattr(os, "memfd_create"):
                raise _too_small(size, purpose, remedy, room) from error
            _log_once(f"/dev/shm ({_shm_room()}) is too small for {purpose}; anonymous memory is used instead")
        try:
            return cls(_allocated(os.memfd_create("datarax_mp", os.MFD_CLOEXEC), size), size)
        except OSError as error:
            raise _too_small(size, purpose, remedy, room) from error

    def map(self, *, writable: bool = True, private: bool = False) -> mmap.mmap:
        """Map the whole segment into this process.

        Args:
            writable: whether the mapping may be written to.
            private: whether writes stay in this process (copy on write) instead of being shared.
        """
        if self._map is None:
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            flags = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
            self._map = mmap.mmap(self.fd, self.size, flags=flags, prot=protection)
        return self._map

    def close(self) -> None:
        """Give the descriptor back and let go of the mapping. Calling it again does nothing."""
        self._map = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()


def _undisturbed(make: Callable[[], Segment]) -> Segment:
    """Make a segment in a thread of its own.

    Signal handlers run in the main thread alone, so Ctrl-C cannot come between a block's name and its removal. The
    caller can be interrupted meanwhile; then nobody takes the segment, and it goes.
    """
    made: list[Segment] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(make())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="datarax_mp segment")
    thread.start()
    thread.join()
    if failed:
        raise failed.pop()
    return made.pop()


def _unnamed_block(size: int) -> int:
    from multiprocessing import shared_memory  # delayed: workers only map what they are given

    _reclaim_once()
    block = shared_memory.SharedMemory(new_name(), create=True, size=size)
    try:
        return os.dup(block._fd)  # type: ignore[attr-defined]  # the only handle that outlives the name
    finally:
        block.unlink()
        block.close()


def _allocated(fd: int, size: int) -> int:
    """The descriptor, with its pages; closed if there are not enough."""
    try:
        os.truncate(fd, size)
        if hasattr(os, "posix_fallocate"):  # macOS has none and none is needed: its memory is swap-backed
            os.posix_fallocate(fd, 0, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


@functools.cache
def _reclaim_once() -> None:
    if removed := reclaim():
        log.warning("removed from /dev/shm what killed runs had left: %s", ", ".join(removed))


_UNASKED = 1 << 20  # bytes; to ask for the limits takes half a millisecond, and so little is always there

_logged = False


def _log_once(text: str) -> None:
    global _logged
    if not _logged:
        _logged = True
        log.info("%s", text)


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
