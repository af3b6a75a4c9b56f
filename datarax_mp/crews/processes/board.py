"""Where every worker says what it is at: one line of shared memory per worker, written by it alone.

    place 0   | handled | epoch | step | at |      64 bytes, all int64, see ``recipe.recorder``
    place 1   | ...

A worker that is stuck or dead sends no message, so what it was at must stand somewhere already. Writing a cell costs
some 40 ns. The board is for words to the user, for blaming a record, and for the nursery, which sees here whether a
worker gets on; no batch depends on what stands in it, and a line that is read in the middle of a change does no harm.
"""

from __future__ import annotations

from datarax_mp.recipe.recorder import CELL_BYTES, CELLS, HANDLED, Sighting, sighting
from datarax_mp.ring import Segment

PLACES = 4096
_SIZE = PLACES * CELLS * CELL_BYTES


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

    def line(self, place: int) -> memoryview:
        """The cells of one place."""
        return self._cells[place * CELLS : (place + 1) * CELLS]

    def clear(self, place: int) -> None:
        """Make a line fit for a new worker."""
        for cell in range(CELLS):
            self._cells[place * CELLS + cell] = 0

    def handled(self, place: int) -> int:
        """How many messages the worker at this place has dealt with."""
        return self._cells[place * CELLS + HANDLED]

    def sighting(self, place: int) -> Sighting:
        """What the worker at this place is at, or was at when it died."""
        return sighting(self.line(place))
