"""The shelf in a worker: blocks of the source that one of the workers has read, mapped when a run wants them."""

from __future__ import annotations

from collections.abc import Sequence

from datarax_mp.crews.processes.protocol import OnShelf
from datarax_mp.recipe.work import ReadBlock
from datarax_mp.ring import Segment
from datarax_mp.ring.limits import room
from datarax_mp.ring.segment import SharedMemoryError, megabytes
from datarax_mp.sources.block import Block
from datarax_mp.sources.block_view import FindBlock


class Shelf:
    """See the module. What is taken off lives on for as long as something looks into it."""

    def __init__(self) -> None:
        self._files: dict[ReadBlock, Segment] = {}  # not mapped yet
        self._blocks: dict[ReadBlock, Block] = {}

    def change(self, message: OnShelf, descriptors: Sequence[int]) -> None:
        """Have just these blocks from now on. One whose descriptor did not arrive, for want of room, is not there."""
        new = message.blocks[len(message.blocks) - len(message.sizes) :]
        arrived = {
            reading: Segment(descriptor, size)
            for reading, size, descriptor in zip(new, message.sizes, descriptors, strict=False)
        }
        there = frozenset(message.blocks)
        self._files = {reading: file for reading, file in self._files.items() if reading in there} | arrived
        self._blocks = {reading: block for reading, block in self._blocks.items() if reading in there}

    def of(self, epoch: int) -> FindBlock:
        """What finds an epoch's blocks."""

        def find(number: int) -> Block | None:
            reading = ReadBlock(epoch, number)
            if (file := self._files.pop(reading, None)) is not None:
                try:
                    self._blocks[reading] = Block.read(file.map(writable=False))
                finally:
                    file.close()
            return self._blocks.get(reading)

        return find


def write(block: Block, file: Segment) -> tuple[int, None]:
    """Write a block to its file; it is found by that.

    Raises:
        SharedMemoryError: there is not so much memory.
        OSError: likewise.
    """
    left = room()
    if left is not None and block.nbytes > left.size:
        raise SharedMemoryError(
            f"there is too little memory for a decoded block of {megabytes(block.nbytes)}: {megabytes(left.size)} left "
            f"(within {left.within}). Smaller blocks, or fewer at a time: ShuffleWindow(blocks=n)"
        )
    return block.write(file.descriptor()), None
