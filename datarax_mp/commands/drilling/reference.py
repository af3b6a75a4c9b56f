"""An undisturbed run, against which the disturbed ones are compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datarax_mp.crews.processes.pool import pool
from datarax_mp.testing.contents import digests, of_batch

Digests = dict[str, str]  # by field


@dataclass(frozen=True, slots=True)
class Reference:
    """What came when nothing was disturbed.

    Attributes:
        seen: for each batch, by field, a hash of what it held.
        states: the state before each of them, and that behind the last.
        whole: whether the iteration has ended there by itself.
        processes: whether worker processes were at it.
    """

    seen: Sequence[Digests]
    states: Sequence[dict[str, Any]]
    whole: bool
    processes: bool = False

    def difference(self, step: int, found: Digests) -> str | None:
        """In what a batch differs from the one of that place; None if in nothing.

        >>> Reference([{"x": "ab"}], [], True).difference(0, {"x": "ba"})
        "batch 0: field 'x' is another one"
        """
        if step >= len(self.seen):
            return f"batch {step}: there were {len(self.seen)} when nothing was disturbed"
        expected = self.seen[step]
        if expected.keys() != found.keys():
            return f"batch {step}: the fields are {sorted(found)}, and were {sorted(expected)}"
        names = [name for name in expected if expected[name] != found[name]]
        if not names:
            return None
        told = ", ".join(f"'{name}'" for name in names)
        return f"batch {step}: {f'field {told} is another one' if len(names) == 1 else f'fields {told} are other ones'}"


def digest(batch: Any) -> Digests:
    """By field a hash of all that a batch holds, record numbers and mask included."""
    return digests(of_batch(batch))


def undisturbed(pipeline: Any, *, most: int, seconds: float) -> Reference:
    """Iterate a pipeline from where it stands.

    Args:
        pipeline: the pipeline.
        most: after so many batches it is enough.
        seconds: and after so long, the wait for the first one left out, which starts workers.
    """
    pipeline.set_state(pipeline.get_state())  # or an epoch that was left in the middle would be left for the next one
    deadline = float("inf")
    seen: list[Digests] = []
    states: list[dict[str, Any]] = [pipeline.get_state()]
    processes = False
    iterator = iter(pipeline)
    try:
        for batch in iterator:
            if not seen:
                deadline = time.monotonic() + seconds
            seen.append(digest(batch))
            states.append(iterator.get_state())
            processes = processes or bool(pipeline.num_workers and pool().pids(parked=False))
            if len(seen) >= most or time.monotonic() > deadline:
                return Reference(seen, states, whole=False, processes=processes)
    finally:
        iterator.close()
    return Reference(seen, states, whole=True, processes=processes)
