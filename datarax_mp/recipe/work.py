"""What is asked of whoever makes batches, and what comes back: an assignment and its answer.

Named tuples, because those pickle in a third of the time that dataclasses take.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from datarax_mp.core.errors import RemoteError
from datarax_mp.order.lanes import LaneCursor
from datarax_mp.recipe.watch import Timed

Shapes: TypeAlias = tuple[tuple[int, ...], ...]


class AtLane(NamedTuple):
    """Where a lane stands before a run."""

    number: int
    cursor: LaneCursor


class Run(NamedTuple):
    """Fill ``slot`` with ``steps`` consecutive batches of ``epoch``, from ``step`` on, out of a ``lane`` perhaps.

    With ``closely``, say when each part of it was done.
    """

    epoch: int
    step: int
    steps: int
    slot: int
    closely: bool = False
    lane: AtLane | None = None


class ReadBlock(NamedTuple):
    """Read and decode ``block`` of the source for ``epoch``; those of ``ahead`` probably follow."""

    epoch: int
    block: int
    ahead: tuple[int, ...] = ()


class Skip(NamedTuple):
    """A record that was left out of its batch because something was raised for it.

    Attributes:
        record: its number.
        row: its place in the batch it is missing from.
        reason: what was raised, with its notes.
    """

    record: int
    row: int
    reason: str


class FromLane(NamedTuple):
    """What has come out of a lane.

    Attributes:
        numbers: the records' numbers, the bytes of an int64 array.
        cursor: where the lane stands now.
    """

    numbers: bytes
    cursor: LaneCursor


class Written(NamedTuple):
    """What comes of a run beside the arrays, for the steps that are complete.

    Attributes:
        infos: for each step the pickled info of its records, or None where all fields are arrays.
        skips: by place in the run, what was skipped there; places without skips are not in it.
        shapes: by place in the run, the shape of each field's rows there, in the layout's order; places where all are
            as the layout says are not in it.
        digests: for each step what a ledger says of it, or nothing where there is none.
        lane: what came out of the run's lane, where it has one and is complete.
    """

    infos: list[bytes | None]
    skips: dict[int, tuple[Skip, ...]]
    shapes: dict[int, Shapes]
    digests: tuple[bytes, ...] = ()
    lane: FromLane | None = None

    @classmethod
    def nothing(cls) -> Written:
        """What there is before the first step."""
        return cls([], {}, {})


class Done(NamedTuple):
    """All batches of a Run are in its slot; it took ``seconds``, and if it was looked at, so long each part."""

    seconds: float
    written: Written
    timed: Timed | None = None


class Shelved(NamedTuple):
    """A block has been read; it took ``seconds``.

    Attributes:
        seconds: that long.
        nbytes: bytes of the block.
        content: what the crew finds it by.
    """

    seconds: float
    nbytes: int
    content: Any


class Failed(NamedTuple):
    """Something was raised, after the steps that are ``written``."""

    error: RemoteError
    written: Written
