"""What a feed hands in to a crew, what it gets back, and what it may count on.

``crew.Crew`` is worker processes, ``local.LocalCrew`` the calling process; a feed cannot tell which it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.work import Done, Failed, Run
from datarax_mp.ring import Ring

Answer: TypeAlias = Done | Failed


@dataclass(slots=True, eq=False)
class Ticket:
    """A run that has been handed in.

    Attributes:
        run: what is to be done.
        ring: where its slot is.
        wanted: whether somebody still waits for it.
    """

    run: Run
    ring: Ring
    wanted: bool = True
    _slots: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._slots = [self.run.slot]

    def discard(self) -> None:
        """Nobody waits for it: only its slot matters. It goes back once, however often this is called."""
        self.ring.take_back(self._slots)


class CrewLike(Protocol):
    """Who does the work of one epoch. Used by one thread; ``layouts`` and ``attach`` come first, in this order."""

    @property
    def concurrent(self) -> bool:
        """Whether work goes on while the caller does something else; otherwise ``submit`` does it."""
        ...

    def layouts(self) -> Layouts:
        """Read the first record and say what a batch holds; raises what the user's code raised."""
        ...

    def holds(self, ring: Ring) -> int:
        """How many slots of a ring are still being written to, for an epoch that was left early."""
        ...

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Write to this ring, as the layouts say, from now on."""
        ...

    def has_room(self, depth: int) -> bool:
        """Whether somebody has less than ``depth`` runs in hand; only then may one be submitted."""
        ...

    def submit(self, ticket: Ticket) -> None:
        """Take a run in hand. Its slot is the crew's until the answer comes, or until nobody wants it."""
        ...

    def answers(self, seconds: float | None) -> list[tuple[Ticket, Answer]]:
        """What has been finished since the last call, in any order; waits up to ``seconds``, or without a limit."""
        ...

    def stuck(self, ticket: Ticket | None, seconds: float) -> Exception:
        """The error for a run that is waited for, or for the layout, and has not come within ``seconds``."""
        ...

    def grow(self, size: int) -> None:
        """Have so many workers from now on, or as many as can be had."""
        ...

    def leave(self) -> None:
        """End in an orderly way; what is still being worked on is discarded when it is done."""
        ...

    def kill(self) -> None:
        """End at once, in the middle of anything."""
        ...


class Closed(Exception):
    """The pipeline was closed by another thread while this one waited for workers."""
