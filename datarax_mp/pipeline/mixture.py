"""What the sources of a mixture have given."""

from __future__ import annotations

from typing import Any, NamedTuple

from datarax_mp.order import Among, Choice, LengthGrouped, Mixing
from datarax_mp.pipeline.state import Position


class Served(NamedTuple):
    """Of one source.

    Attributes:
        records: how many it has given.
        expected: how many its weight says.
    """

    records: int
    expected: float


def served(at: Position, source: Any) -> dict[str, Served]:
    """For each source of a mixture by name what it has given up to a position.

    Raises:
        TypeError: the records are no mixture's.
    """
    order, epoch, step = at
    mixing = _mixing(order.choice)
    if mixing is None:
        raise TypeError(f"mixture() is about a MixSource, and this pipeline's source is a {type(source).__name__}")
    records = order.place(epoch, step)
    if mixing.stop == "repeat":
        records += epoch * mixing.length
    given = zip(mixing.counts(records), mixing.expected(records), strict=True)
    return {name: Served(*both) for name, both in zip(mixing.names, given, strict=True)}


def _mixing(choice: Choice) -> Mixing | None:
    """The mixture that a choice is made of, if it is one."""
    while isinstance(choice, (Among, LengthGrouped)):
        choice = choice.choice
    return choice if isinstance(choice, Mixing) else None
