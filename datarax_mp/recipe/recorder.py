"""Where this process says what it is at: six cells, written by whoever makes batches and read by anybody.

    | handled | phase | epoch | step | record | stage |      all int64

Writing a cell costs some 40 ns. In a worker the cells are a line of the board (``crews.processes.board``), which other
processes see; in the calling process nobody looks at them.
"""

from __future__ import annotations

import enum

HANDLED, PHASE, EPOCH, STEP, RECORD, STAGE = range(6)
CELLS = 8
CELL_BYTES = 8

WHOLE_BATCH = -1  # in RECORD: no single record is being worked on


class Phase(enum.IntEnum):
    """What a worker does just now."""

    IDLE = 0
    LOADING = 1
    READING = 2
    STAGE = 3
    WRITING = 4
    ANSWERING = 5


def blank() -> memoryview:
    """A line that nobody looks at, for work in the calling process."""
    return memoryview(bytearray(CELLS * CELL_BYTES)).cast("q")


# The line of this process. A worker's nursery gives it one on the board.
here: memoryview = blank()


def use(line: memoryview) -> None:
    """Make this process write to another line."""
    global here
    here = line


def enter(epoch: int, step: int) -> None:
    """Say that this process begins with a step."""
    here[EPOCH], here[STEP], here[RECORD] = epoch, step, WHOLE_BATCH
