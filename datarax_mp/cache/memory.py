"""Records in memory that all workers share: one file without a name, which is gone when nobody has it any more.

    | where the next one begins 8 | 56 unused | for each record where it lies, 8, or 0 | records, sealed ... |

A place is taken under a lock that the system takes back from a process that dies; then the record is written, and then
its line in the table. Nothing is ever moved or thrown away: a full memory keeps what it has, for in epochs, where every
record comes once, no other choice has more of them there. It is written to by ``pwrite``, so that memory which is not
there is an error, and no signal.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import weakref

from datarax_mp.cache.locks import fcntl
from datarax_mp.cache.packing import Bytes
from datarax_mp.cache.sealed import ALIGNED, HEADER, Sealer, write
from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.spec import align
from datarax_mp.ring.segment import Segment

log = logging.getLogger("datarax_mp")

_WORD = struct.Struct("<q")
_TABLE = 64
_taking = threading.Lock()  # for the lock of a file is a process's, not a thread's


class Memory:
    """The memory for the records of one fingerprint. It goes to workers with the recipe.

    Args:
        segment: where it is.
        records: for how many there is a line in the table.
        budget: bytes for all of them.
    """

    def __init__(self, segment: Segment, records: int, budget: int) -> None:
        self.segment, self.records, self.budget = segment, records, budget

    @classmethod
    def of(cls, records: int, budget: int) -> Memory:
        """New memory; none of its pages is taken before it is written to.

        Raises:
            OSError: no further descriptor can be had.
        """
        memory = cls(Segment.empty(), records, budget)
        os.truncate(memory.segment.descriptor(), memory.start)
        return memory

    @property
    def start(self) -> int:
        """Where records begin."""
        return align(_TABLE + _WORD.size * self.records, 4096)


_known: weakref.WeakValueDictionary[tuple[str, int, int], Memory] = weakref.WeakValueDictionary()


def memory_of(key: str, records: int, budget: int) -> Memory:
    """The memory of a fingerprint, the same one for all pipelines of this process that have it at the same time.

    Raises:
        OSError: no further descriptor can be had.
    """
    memory = _known.get((key, records, budget))
    if memory is None or not memory.segment.intact():
        memory = _known[key, records, budget] = Memory.of(records, budget)
    return memory


class MemoryStore:
    """See ``Store``.

    Args:
        memory: where.
        sealer: makes bytes of records.
    """

    def __init__(self, memory: Memory, sealer: Sealer) -> None:
        self._memory, self._sealer = memory, sealer
        self._full = False

    def has(self, number: int) -> bool:
        """See ``Store``."""
        return self._place(number) > 0

    def get(self, number: int) -> Bytes | None:
        """See ``Store``."""
        place = self._place(number)
        return self._sealer.open(self._memory.segment.fd, place, number) if place else None

    def put(self, number: int, packed: Bytes) -> None:
        """See ``Store``."""
        if self._full or not 0 <= number < self._memory.records:
            return
        parts = self._sealer.seal(number, packed)
        try:
            file = self._memory.segment.descriptor()
            place = self._take(file, align(HEADER + parts[1].nbytes, ALIGNED))
            if place:
                write(file, place, parts)
                write(file, _TABLE + _WORD.size * number, [memoryview(_WORD.pack(place))])
        except OSError as error:
            if not is_refusal(error):
                raise
            self._full = True
            log.warning("Cache: no further records are kept in memory: %s", error)

    def _place(self, number: int) -> int:
        if not 0 <= number < self._memory.records:
            return 0
        line = os.pread(self._memory.segment.fd, _WORD.size, _TABLE + _WORD.size * number)
        return _WORD.unpack(line)[0] if len(line) == _WORD.size else 0

    def _take(self, file: int, size: int) -> int:
        """Where so many bytes may be written; 0 if there is no room."""
        start, budget = self._memory.start, self._memory.budget
        with _taking:
            try:  # around taking it, too: a signal that comes meanwhile is handled behind the call
                fcntl.lockf(file, fcntl.LOCK_EX, _WORD.size, 0)
                (place,) = _WORD.unpack(os.pread(file, _WORD.size, 0))
                place = place or start
                if place + size > start + budget:
                    self._full = True
                    log.info("Cache: the budget of %d bytes is used up; further records are not kept", budget)
                    return 0
                write(file, 0, [memoryview(_WORD.pack(place + size))])
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN, _WORD.size, 0)
        return int(place)
