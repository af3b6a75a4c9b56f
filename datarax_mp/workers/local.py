"""A crew without processes: what ``num_workers=0`` means."""

from __future__ import annotations

from datarax_mp.core.spec import Layout
from datarax_mp.ring import Ring
from datarax_mp.workers.crew import Answer, Ticket
from datarax_mp.workers.errors import RemoteError
from datarax_mp.workers.program import Program


class LocalCrew:
    """Does the work in the calling process, at the moment it is handed in."""

    concurrent = False

    def __init__(self, program: Program) -> None:
        self._program = program
        self._answers: list[tuple[Ticket, Answer]] = []

    def layout(self) -> Layout:
        """Read the first record and fix the layout."""
        self._program.layout = self._program.probe()
        return self._program.layout

    def attach(self, ring: Ring, layout: Layout) -> None:
        """Write batches as the layout says; a ticket brings its ring along."""
        self._program.layout = layout

    def submit(self, ticket: Ticket, depth: int) -> bool:
        """Do the run now, unless an answer is waiting to be taken."""
        if self._answers:
            return False
        ring = ticket.ring
        self._answers.append((ticket, self._program.perform(ticket.run, ring.memory, ring.slot_bytes, _Raised)))
        return True

    def answers(self, seconds: float | None) -> list[tuple[Ticket, Answer]]:
        """What has been done since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def stuck(self, ticket: Ticket | None, seconds: float) -> Exception:
        """There is no waiting, hence nothing to be stuck."""
        raise AssertionError

    def leave(self) -> None:
        """Let go of what has been done and not been taken."""
        for ticket, _ in self.answers(0):
            ticket.discard()

    kill = leave


class _Raised(RemoteError):
    """An exception that was raised right here, and needs no packing."""

    def __init__(self, error: Exception) -> None:
        object.__setattr__(self, "_error", error)

    def restore(self) -> BaseException:
        return self._error  # type: ignore[attr-defined, no-any-return]
