"""Where every worker says what it is at: one line of shared memory per worker, written by it alone.

    line 0    | handled | epoch | step | at |      64 bytes, all int64, see ``recipe.recorder``
    line 1    | ...

A worker that is stuck or dead sends no message, so what it was at must stand somewhere already. Writing a cell costs
some 40 ns. The board is for words to the user, for blaming a record, and for the nursery, which sees here whether a
worker gets on; no batch depends on what stands in it, and a line that is read in the middle of a change does no harm.
"""

from __future__ import annotations

from datarax_mp.recipe.recorder import CELL_BYTES, CELLS, HANDLED, Sighting, sighting
from datarax_mp.ring import Segment

LINES = 4096
_SIZE = LINES * CELLS * CELL_BYTES


class Board:
    """The lines of all workers of one nursery.

    Args:
        fd: the descriptor of a board that exists; without it a new one is made.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._segment = Segment.create(_SIZE, "the board", "Raise the limit") if fd is None else Segment(fd, _SIZE)
        self._cells = memoryview(self._segment.map()).cast("q")

    @property
    def fd(self) -> int:
        """The descriptor of its memory."""
        return self._segment.fd

    def close(self) -> None:
        """Give the descriptor back; the lines can still be read."""
        self._segment.close()

    def cells(self, line: int) -> memoryview:
        """The cells of one line."""
        return self._cells[line * CELLS : (line + 1) * CELLS]

    def clear(self, line: int) -> None:
        """Make a line fit for a new worker."""
        for cell in range(CELLS):
            self._cells[line * CELLS + cell] = 0

    def handled(self, line: int) -> int:
        """How many messages the worker on this line has dealt with."""
        return self._cells[line * CELLS + HANDLED]

    def sighting(self, line: int) -> Sighting:
        """What the worker on this line is at, or was at when it died."""
        return sighting(self.cells(line))
