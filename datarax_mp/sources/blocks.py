"""Sources that can only be read in blocks: row groups, chunks, shards.

    block       0        1     2            what the source reads and decodes at a time
    record      0 1 2 3  4 5   6 7 8 9      numbered through

Whoever writes one says how many records each block has, and reads a block. The rest is here: records by number, out of
the blocks that this process has kept, for whoever asks for them singly. A pipeline asks so only where it has to: it
orders records by blocks (``order.blockwise``), and has each block read once (``feed.shelf``).
"""

from __future__ import annotations

import itertools
import operator
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import flatten, nest
from datarax_mp.sources.block import Block, Gathered, Part, gather
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.records import InTurn
from datarax_mp.sources.together import Found, Numbers, checked_numbers, one_number

GetBlock: TypeAlias = Callable[[int], Block]

CACHE_BYTES = 256 << 20


class BlockSource(SaysFacts):
    """A source that reads several records at a time; derive a class from it and say ``blocks`` and ``read_block``.

    A pipeline reads each block once an epoch, in one worker, and all workers take records out of it. Where its order
    does not go by blocks (samplers, ``batch_by``, sources of other sources), with a ``Cache`` and with Ray's actors
    each worker reads those that it needs for itself. ``shuffle=True`` shuffles the blocks, and the records of every 16
    of them; ``shuffle=ShuffleWindow(blocks=n)`` sets that number.

    Attributes:
        cache_bytes: bytes of decoded blocks that a process keeps which reads records by number, outside of a pipeline
            or in an order that does not go by blocks; the newest one is kept whatever it takes.

    >>> import numpy as np
    >>> class Tens(BlockSource):
    ...     blocks = (10, 10, 5)
    ...     def read_block(self, number):
    ...         return {"x": 10 * number + np.arange(self.blocks[number])}
    >>> source = Tens()
    >>> len(source), source[-1]
    (25, {'x': np.int64(24)})
    """

    cache_bytes = CACHE_BYTES

    @property
    @abstractmethod
    def blocks(self) -> Sequence[int] | NDArray[np.int64]:
        """How many records each block has; the same for the source's whole life."""
        ...

    @abstractmethod
    def read_block(self, number: int) -> Any:
        """Read and decode a block.

        Returns:
            A dict of columns, nested as records are: an array ``(records, ...)`` or a list for each field; or a table
            of Arrow, pandas or polars; or a list of records, or ``Records``. It is not changed afterwards.

        Raises:
            OSError: it cannot be read; the message says what and where.
        """
        ...

    def expect_blocks(self, numbers: Sequence[int]) -> None:
        """These blocks are the next ones that this process is likely to be asked for, after the one that follows now.

        What takes long to come may be asked for meanwhile. Whether they are asked for is not known, and nothing is
        raised for one before it is.
        """

    def decode(self, record: Any) -> Any:
        """Finish a record of a block that is a list, when it is taken out.

        For what takes long, or much memory when it is done, as images do: all workers do it, each for the records of
        its batches, one after the other, and a record that cannot be decoded is the only one to be skipped.
        """
        return record

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        own = type(self).__getitem__ is BlockSource.__getitem__  # otherwise that is what the user means by a record
        return SourceFacts(type(self).__name__, user_code=False, blocks=self.block_ends if own else None)

    @cached_property
    def block_ends(self) -> NDArray[np.int64]:
        """Of each block the number of the record behind its last one, int64 ``(blocks,)``."""
        return np.cumsum(np.asarray(self.blocks, np.int64), dtype=np.int64)

    def block_name(self, number: int) -> str:
        """What messages call a block."""
        return f"block {number} of {type(self).__name__}"

    def block(self, number: int) -> Block:
        """A block, read now.

        Raises:
            Exception: what ``read_block`` raised.
            RecordError: it is another one than ``blocks`` says.
        """
        return Block.of(self.read_block(number), int(self.blocks[number]), self.block_name(number))

    def __len__(self) -> int:
        """How many records there are."""
        return int(self.block_ends[-1]) if len(self.block_ends) else 0

    def __getitem__(self, number: int) -> Any:
        """One record; negative numbers count from the end.

        Raises:
            IndexError: there is no such record.
            RecordError: there are nulls among its numbers.
        """
        record = one_record(self.block_ends, number, self.kept_block)
        return self.decode(record) if self.decodes else record

    def __getitems__(self, numbers: list[int]) -> Found:
        """Several records in this order: a dict of columns, or the records where blocks are lists.

        Those that are to be finished are so when their turn comes.

        Raises:
            IndexError: there is no such record.
            RecordError: there are nulls among the numbers of one.
        """
        found = records_of(self.block_ends, numbers, self.kept_block)
        if isinstance(found, dict) or not self.decodes:
            return found
        return InTurn(lambda place: self.decode(found[place]), len(found))

    @property
    def decodes(self) -> bool:
        """Whether this class finishes records; its blocks are lists then."""
        return type(self).decode is not BlockSource.decode

    def kept_block(self, number: int) -> Block:
        """A block, read unless it is one of those that this process has kept."""
        return self._cache.get(number, lambda: self.block(number))

    def take_block(self, number: int) -> Block:
        """The same for whoever keeps it: this process keeps none any more."""
        kept = self._cache.let_go(number)
        return self.block(number) if kept is None else kept

    @cached_property
    def _cache(self) -> BlockCache:
        return BlockCache(self.cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        """All but what this process has worked out; a class of yours that has one of its own takes this one's."""
        return {name: value for name, value in self.__dict__.items() if name not in ("block_ends", "_cache")}


def one_record(ends: NDArray[np.int64], number: int, block: GetBlock) -> Any:
    """A record out of its block; negative numbers count from the end.

    Raises:
        IndexError: there is no such record.
    """
    number = one_number(operator.index(number), int(ends[-1]) if len(ends) else 0)
    found = records_of(ends, [number], block)
    return nest({path: column[0] for path, column in flatten(found).items()}) if isinstance(found, dict) else found[0]


def records_of(ends: NDArray[np.int64], numbers: Sequence[int] | Numbers, block: GetBlock) -> Gathered:
    """Records out of their blocks.

    Args:
        ends: see ``BlockSource.block_ends``.
        numbers: which records.
        block: gives a block.

    Returns:
        A dict of columns where all blocks have the same, otherwise a list of records; in the order of the numbers.
    """
    wanted = checked_numbers(numbers, int(ends[-1]) if len(ends) else 0)
    if not len(wanted):
        return []
    of = np.searchsorted(ends, wanted, side="right")
    places = of.argsort(kind="stable")
    of = of[places]
    begins = [0, *(np.flatnonzero(np.diff(of)) + 1).tolist(), len(of)]
    parts = []
    for begin, end in itertools.pairwise(begins):
        number, mine = int(of[begin]), places[begin:end]
        parts.append(Part(mine, block(number), wanted[mine] - (ends[number - 1] if number else 0)))
    return gather(parts, wanted)


class BlockCache:
    """The blocks that were asked for last, up to some bytes.

    Threads may share one; each block is read by one of them, and the others wait for it.

    Args:
        most_bytes: how many bytes; the newest block is kept whatever it takes.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.RLock()
        self._reading: dict[int, threading.RLock] = {}
        self._kept: OrderedDict[int, tuple[Block, int]] = OrderedDict()
        self._bytes = 0

    def get(self, number: int, read: Callable[[], Block]) -> Block:
        """A block, read if it is not there."""
        with self._lock:
            if (kept := self._look(number)) is not None:
                return kept
            reading = self._reading.setdefault(number, threading.RLock())
        with reading:
            with self._lock:
                if (kept := self._look(number)) is not None:
                    return kept
            block = read()
            with self._lock:
                self._keep(number, block)
            return block

    def let_go(self, number: int) -> Block | None:
        """A block, if it is there; nothing is kept any more."""
        with self._lock:
            kept = self._look(number)
            self._kept, self._bytes = OrderedDict(), 0
            return kept

    def _look(self, number: int) -> Block | None:
        if number not in self._kept:
            return None
        self._kept.move_to_end(number)
        return self._kept[number][0]

    def _keep(self, number: int, block: Block) -> None:
        self._reading.pop(number, None)
        self._kept[number] = block, block.nbytes
        self._bytes += self._kept[number][1]
        while len(self._kept) > 1 and self._bytes > self._most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][1]
