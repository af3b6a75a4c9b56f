"""A source that is read in blocks, as a run sees it: what lies on the shelf is taken from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.core.strays import is_interruption
from datarax_mp.sources.block import Block, Gathered
from datarax_mp.sources.blocks import BlockSource, one_record, records_of
from datarax_mp.sources.together import Numbers

FindBlock: TypeAlias = Callable[[int], Block | None]


def no_block(number: int) -> None:
    """None of them lies on the shelf."""


class BlockView:
    """The records of a source, out of blocks that others have read, or the source itself where these lack one.

    Args:
        source: the source.

    Attributes:
        shelved: gives a block that lies on the shelf.
    """

    def __init__(self, source: BlockSource) -> None:
        self._source, self._ends = source, source.block_ends
        self.shelved: FindBlock = no_block
        self._expected = _NONE
        self._gathered: Gathered | None = None
        self._at = 0

    def expect(self, numbers: Sequence[Numbers]) -> None:
        """These records will be asked for, one batch after the other.

        They are gathered together when the first are: a batch has few records of each block, so that NumPy's calls
        cost more than their work.
        """
        self._expected = np.concatenate(numbers) if len(numbers) > 1 else _NONE
        self._gathered, self._at = None, 0

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> Any:
        return one_record(self._ends, number, self._block)

    def __getitems__(self, numbers: list[int]) -> Gathered:
        end = self._at + len(numbers)
        if not np.array_equal(self._expected[self._at : end], numbers):
            return records_of(self._ends, numbers, self._block)
        if self._gathered is None:
            try:
                self._gathered = records_of(self._ends, self._expected, self._block)
            except Exception as error:
                if is_interruption(error):
                    raise
                self._expected = _NONE  # what a record raised, it raises again, in the batch that is concerned
                return records_of(self._ends, numbers, self._block)
        begin, self._at = self._at, end
        return _cut(self._gathered, begin, end)

    def _block(self, number: int) -> Block:
        block = self.shelved(number)
        # One that could not be read is not there: trying again says why, at the record that is concerned.
        return self._source.kept_block(number) if block is None else block


class DecodingView(BlockView):
    """The same where the source finishes records when they are taken out: one by one, as this class has no other way.

    So no more than one of a batch is there decoded, beside its row.
    """

    def __getitem__(self, number: int) -> Any:
        place = int(self._ends.searchsorted(number, "right"))
        record = self._block(place).record(number - int(self._ends[place - 1] if place else 0))
        return self._source.decode(record)


def view_of(source: BlockSource) -> BlockView:
    """A source's view."""
    return DecodingView(source) if source.decodes else BlockView(source)


_NONE = np.empty(0, np.int64)


def _cut(found: Gathered, begin: int, end: int) -> Gathered:
    if not isinstance(found, dict):
        return found[begin:end]
    return {name: _cut(part, begin, end) if isinstance(part, dict) else part[begin:end] for name, part in found.items()}
