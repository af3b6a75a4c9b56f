"""Where every worker says what it is at: one line of shared memory per worker, written by it alone.

    place 0   | handled | phase | epoch | step | record | stage |      64 bytes, all int64
    place 1   | ...

A worker that is stuck or dead sends no message, so what it was at must stand somewhere already. Writing a cell costs
some 40 ns. The board is for words to the user, for blaming a record, and for the nursery, which sees here whether a
worker gets on; no batch depends on what stands in it, and a line that is read in the middle of a change does no harm.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from datarax_mp.ring import Segment

PLACES = 4096
HANDLED, PHASE, EPOCH, STEP, RECORD, STAGE = range(6)
_CELLS = 8
_CELL_BYTES = 8
_SIZE = PLACES * _CELLS * _CELL_BYTES

WHOLE_BATCH = -1  # in RECORD: no single record is being worked on


class Phase(enum.IntEnum):
    """What a worker does just now."""

    IDLE = 0
    LOADING = 1
    READING = 2
    STAGE = 3
    WRITING = 4
    ANSWERING = 5


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a worker was at when somebody looked.

    Attributes:
        phase: what it did.
        epoch: the epoch, where the phase belongs to a step.
        step: the step.
        record: the record's number, or ``WHOLE_BATCH``.
        stage: the place of the host stage, where ``phase`` is ``STAGE``.
    """

    phase: Phase
    epoch: int
    step: int
    record: int
    stage: int


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
        return self._cells[place * _CELLS : (place + 1) * _CELLS]

    def clear(self, place: int) -> None:
        """Make a line fit for a new worker."""
        for cell in range(_CELLS):
            self._cells[place * _CELLS + cell] = 0

    def handled(self, place: int) -> int:
        """How many messages the worker at this place has dealt with."""
        return self._cells[place * _CELLS + HANDLED]

    def sighting(self, place: int) -> Sighting:
        """What the worker at this place is at, or was at when it died."""
        _, phase, epoch, step, record, stage, *_ = self.line(place)
        return Sighting(Phase(phase), epoch, step, record, stage)


def blank() -> memoryview:
    """A line that nobody looks at, for work in the calling process."""
    return memoryview(bytearray(_CELLS * _CELL_BYTES)).cast("q")


# The line of this process. A worker's nursery gives it one on the board.
here: memoryview = blank()


def use(line: memoryview) -> None:
    """Make this process write to another line."""
    global here
    here = line


def enter(epoch: int, step: int) -> None:
    """Say that this process begins with a step."""
    here[EPOCH], here[STEP], here[RECORD] = epoch, step, WHOLE_BATCH
