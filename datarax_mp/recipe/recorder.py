"""Where this process says what it is at: written by whoever makes batches, read by anybody.

    | handled | epoch | step | at |      int64 each; ``at`` is phase, stage and record in one

Whoever makes batches says when a step, a record or a stage begins, and nothing else; what becomes of that is the
readers' affair. In a worker the cells are a line of the board (``crews.processes.board``), which main and the nursery
see; in the calling process nobody looks at them. Saying so costs some 80 ns, one store of one cell, so that a reader
never sees the record of one thing with the stage of another.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeVar

HANDLED, EPOCH, STEP, AT = range(4)
CELLS = 8
CELL_BYTES = 8

WHOLE_BATCH = -1  # for a record: no single one is being worked on

_RECORD_BITS = 48
_STAGE_BITS = 8
_RECORDS = (1 << _RECORD_BITS) - 1
_STAGES = (1 << _STAGE_BITS) - 1


class Phase(enum.IntEnum):
    """What a worker does just now."""

    IDLE = 0
    LOADING = 1
    READING = 2
    STAGE = 3
    WRITING = 4
    ANSWERING = 5
    BLOCK = 6


class Sighting(NamedTuple):
    """What a process was at when somebody looked.

    Attributes:
        phase: what it did.
        epoch: the epoch, where the phase belongs to a step.
        step: the step.
        record: the record's number, or ``WHOLE_BATCH``; of a block its number.
        stage: the place of the host stage, where ``phase`` is ``STAGE``.
    """

    phase: Phase
    epoch: int
    step: int
    record: int
    stage: int


class Line(Protocol):
    """The cells of a process."""

    def __getitem__(self, cell: int, /) -> int: ...

    def __setitem__(self, cell: int, value: int, /) -> None: ...


Make = TypeVar("Make", bound=Callable[..., object])


def _code(phase: Phase, stage: int = 0) -> int:
    """What ``at`` holds, but for the record's number; 0 stands for the whole batch."""
    return (phase << _STAGE_BITS | stage) << _RECORD_BITS | 1


READING: Final = _code(Phase.READING)  # with the record's number added, what ``Recorder.read`` writes
_WRITE, _BLOCK = _code(Phase.WRITING), _code(Phase.BLOCK)
_STAGED = [_code(Phase.STAGE, stage) for stage in range(_STAGES + 1)]  # later ones count as the last


def sighting(line: Line) -> Sighting:
    """What stands in a line.

    >>> recorder = Recorder()
    >>> recorder.step(epoch=1, step=2)
    >>> recorder.stage(3, 40)
    >>> sighting(recorder.line)
    Sighting(phase=<Phase.STAGE: 3>, epoch=1, step=2, record=40, stage=3)
    """
    at = line[AT]
    return Sighting(part_of(at)[0], line[EPOCH], line[STEP], record_of(at), part_of(at)[1])


def part_of(at: int) -> tuple[Phase, int]:
    """Phase and stage of what ``at`` holds."""
    phase, stage = divmod(at >> _RECORD_BITS, _STAGES + 1)
    return Phase(phase), stage


def record_of(at: int) -> int:
    """The record's number in what ``at`` holds, or ``WHOLE_BATCH``."""
    return (at & _RECORDS) - 1


def blank() -> memoryview:
    """A line that nobody looks at, for work in the calling process."""
    return memoryview(bytearray(CELLS * CELL_BYTES)).cast("q")


class Recorder:
    """Says what a process is at.

    Attributes:
        line: the cells to write to; another's while a run is looked at closely (see ``recipe.watch``).
        retried: how often reading was tried again.
        hits: how many records came out of a cache.
        misses: how many a cache did not have.
    """

    __slots__ = ("hits", "line", "misses", "retried")

    def __init__(self) -> None:
        self.line: Line = blank()
        self.retried = self.hits = self.misses = 0

    def step(self, epoch: int, step: int) -> None:
        """A step begins."""
        line = self.line
        line[EPOCH], line[STEP] = epoch, step
        line[AT] &= ~_RECORDS

    def read(self, record: int = WHOLE_BATCH) -> None:
        """A record, or a batch of them, is about to be read."""
        self.line[AT] = READING + record

    def block(self, epoch: int, block: int) -> None:
        """A block of the source is about to be read."""
        self.line[EPOCH] = epoch
        self.line[AT] = _BLOCK + block

    def stage(self, stage: int, record: int = WHOLE_BATCH) -> None:
        """A stage begins with a record, or with a batch."""
        self.line[AT] = _STAGED[stage if stage < _STAGES else _STAGES] + record

    def write(self, record: int = WHOLE_BATCH) -> None:
        """A record, or a batch, is about to be written."""
        self.line[AT] = _WRITE + record

    def before_writing(self, make: Make) -> Make:
        """What makes the records that are written one by one; in a close look it says when each is made.

        At other times that is not worth its price.
        """
        if isinstance(self.line, memoryview):
            return make

        def announced(*of: object) -> object:
            record = make(*of)
            self.write()
            return record

        return announced  # type: ignore[return-value]

    def phase(self, phase: Phase) -> None:
        """Something else begins that concerns no record."""
        self.line[AT] = _code(phase) + WHOLE_BATCH

    def handled(self) -> None:
        """A message has been dealt with, and nothing is left to do."""
        line = self.line
        line[AT] = 0
        line[HANDLED] += 1


here = Recorder()  # of this process
