"""Slots of one size, and who may touch each of them.

            acquire()            worker reports             lease(slot)
    FREE ------------> FILLING ----------------> (FILLED) ---------------> LEASED
     ^                    |                          |                        |
     |    release(slot)   |       release(slot)      |    the last array that |
     +--------------------+--------------------------+----looks at it dies ---+

A slot is in exactly one of these states, and only this module moves it. Nothing is ever reset: a slot that a user holds
stays LEASED across epochs, and past the ring's own end, until the user lets go.

The lease is a ctypes array over the slot. NumPy makes it the base of every view, and JAX keeps it alive for as long as
a buffer aliases it, so its death is the one event that says "nobody looks at this memory any more". The death may be
noticed in any thread at any bytecode, hence the callback is a single atomic append; and it is C code, because a Ctrl-C
that came inside a Python callback would be printed and lost.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import weakref
from collections import deque
from typing import Any

from datarax_mp.core.spec import align
from datarax_mp.ring.segment import Segment, megabytes

_numbers = itertools.count(1)


class _Lease(weakref.ref[Any]):
    """A reference to what was lent out, that knows the slot."""

    __slots__ = ("slot",)
    slot: int


class Ring:
    """A fixed number of equal slots in one piece of memory.

    Memory is allocated as slots are first used: runs are short at first, a slot that is never needed takes none, and
    nobody waits for the kernel to clear it all before the first batch.

    Attributes:
        number: no other ring of this process has it.

    Args:
        slots: how many.
        slot_bytes: bytes of each; rounded up to whole pages.
        shared: whether worker processes write to it; otherwise it is ordinary memory of this process.
        kind: the class of the memory; None is ``mmap.mmap``.

    Raises:
        SharedMemoryError: there is too little shared memory.
    """

    def __init__(self, slots: int, slot_bytes: int, *, shared: bool, kind: type[mmap.mmap] | None = None) -> None:
        self.number = next(_numbers)
        self.slots = slots
        self.slot_bytes = align(slot_bytes, mmap.PAGESIZE)
        size = slots * self.slot_bytes
        self.segment: Segment | None = None
        if shared:
            self.segment = Segment.create(
                size,
                f"the ring ({slots} slots of {megabytes(self.slot_bytes)})",
                "Lower batch_size, num_workers or prefetch_size",
                bit_by_bit=True,
            )
            self.memory = self.segment.map(kind=kind)
        else:
            self.memory = (kind or mmap.mmap)(-1, size)
        self._slot_type = ctypes.c_char * self.slot_bytes
        self._free = list(range(slots))  # the one that came back last goes out first: it may still be in a cache
        self._reserved = [0 if shared else self.slot_bytes] * slots  # bytes of each slot that may be touched
        self._returned: deque[_Lease] = deque()  # filled by dying leases, emptied by us
        self._leases: dict[int, _Lease] = {}

    def fits(self, slots: int, slot_bytes: int) -> bool:
        """Whether it is what would be made of these arguments."""
        return self.slots == slots and self.slot_bytes == align(slot_bytes, mmap.PAGESIZE)

    def acquire(self, size: int | None = None) -> int | None:
        """Take a free slot to be filled, or None when there is none.

        Args:
            size: bytes of it that will be touched; None is all.

        Raises:
            SharedMemoryError: others have taken the memory that there was for it when the ring was made.
        """
        self._collect()
        if not self._free:
            return None
        slot, size = self._free.pop(), self.slot_bytes if size is None else size
        if size > self._reserved[slot]:
            self._reserve(slot, size)
        return slot

    def reserve(self) -> None:
        """Allocate all of it now, for somebody who wants to know where its pages are.

        Raises:
            SharedMemoryError: as for ``acquire``.
        """
        for slot in range(self.slots):
            self._reserve(slot, self.slot_bytes)

    def _reserve(self, slot: int, size: int) -> None:
        known = self._reserved[slot]
        # Whoever needs more a second time will go on doing so.
        stop = align(size, mmap.PAGESIZE) if not known else self.slot_bytes
        if self.segment is not None and stop > known:
            start = slot * self.slot_bytes
            self.segment.reserve(start + known, start + stop)
        self._reserved[slot] = stop

    def release(self, slot: int) -> None:
        """Give back a slot that was acquired and is not leased."""
        self._free.append(slot)

    def take_back(self, slots: list[int]) -> None:
        """The same for all slots of a list, which is empty then; nothing can come between, no signal and no thread."""
        # One call of C code moves them, so no slot is ever in both lists or in none.
        self._free.extend(map(list.pop, [slots] * len(slots)))

    def lease(self, slot: int) -> ctypes.Array[ctypes.c_char]:
        """Lend a filled slot out. It is free again when the returned object, the base of all views, has died."""
        base = self._slot_type.from_buffer(self.memory, slot * self.slot_bytes)
        lease = _Lease(base, self._returned.append)
        lease.slot = slot
        self._leases[slot] = lease
        return base

    @property
    def leased(self) -> int:
        """How many slots somebody looks at just now."""
        self._collect()
        return len(self._leases)

    @property
    def filling(self) -> int:
        """How many slots are acquired and not leased."""
        return self.slots - self.leased - len(self._free)

    def filled(self) -> tuple[int, int, int]:
        """Slots that are with the user, being filled or filled, and free: roughly, and any thread may ask."""
        returned, leased, free = len(self._returned), len(self._leases), len(self._free)
        return max(leased - returned, 0), max(self.slots - leased - free, 0), min(free + returned, self.slots)

    def _collect(self) -> None:
        while self._returned:
            slot = self._returned.popleft().slot
            del self._leases[slot]
            self._free.append(slot)

    def close(self) -> None:
        """Let go of the memory. What is leased stays valid until its last array dies."""
        if self.segment is not None:
            self.segment.close()
