"""What is asked of whoever makes batches, and what comes back: an assignment and its answer.

Named tuples, because those pickle in a third of the time that dataclasses take.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from datarax_mp.core.errors import RemoteError

Shapes: TypeAlias = tuple[tuple[int, ...], ...]


class Run(NamedTuple):
    """Fill ``slot`` with ``steps`` consecutive batches of ``epoch``, from ``step`` on."""

    epoch: int
    step: int
    steps: int
    slot: int


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


class Written(NamedTuple):
    """What comes of a run beside the arrays, for the steps that are complete.

    Attributes:
        infos: for each step the pickled info of its records, or None where all fields are arrays.
        skips: by place in the run, what was skipped there; places without skips are not in it.
        shapes: by place in the run, the shape of each field's rows there, in the layout's order; places where all are
            as the layout says are not in it.
        digests: for each step what a ledger says of it, or nothing where there is none.
    """

    infos: list[bytes | None]
    skips: dict[int, tuple[Skip, ...]]
    shapes: dict[int, Shapes]
    digests: tuple[bytes, ...] = ()

    @classmethod
    def nothing(cls) -> Written:
        """What there is before the first step."""
        return cls([], {}, {})


class Done(NamedTuple):
    """All batches of a Run are in its slot; it took ``seconds``."""

    seconds: float
    written: Written


class Failed(NamedTuple):
    """Something was raised, after the steps that are ``written``."""

    error: RemoteError
    written: Written
