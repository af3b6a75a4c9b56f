"""What it means that actors are gone: a word in the log, or that it is no use to go on.

Nodes come and go in a cluster, and take actors with them that have done nothing wrong. So a run may be lost once more
than with worker processes before it is blamed, and a whole crew may be lost twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from datarax_mp.core.errors import WorkerError, one_line
from datarax_mp.crews.base import Assignment
from datarax_mp.crews.ray.worker import Worker
from datarax_mp.recipe.recipe import Recipe

log = logging.getLogger("datarax_mp")

_PER_RUN = 3  # what has been lost three times will be lost a fourth time
_IN_A_ROW = 5  # no run finished in between
_LISTED = 8  # record numbers that a message lists


class Losses:
    """Those of one crew.

    Args:
        recipe: what is done; for the words about it.
        restart: whether an actor that is gone is replaced; otherwise it is an error.
    """

    def __init__(self, recipe: Recipe, *, restart: bool) -> None:
        self._recipe, self._restart = recipe, restart
        self._by_run: Counter[Assignment] = Counter()
        self._in_a_row = 0

    def note_progress(self) -> None:
        """A run was finished."""
        self._in_a_row = 0

    def report(self, worker: Worker, lost: Sequence[Assignment], error: Exception, crew_size: int) -> None:
        """Log a loss, or raise if there have been too many.

        Args:
            worker: who is gone.
            lost: the runs that it had in hand; the first one is what it was at.
            error: what Ray says.
            crew_size: how many workers there are.

        Raises:
            WorkerError: a run has been lost too often, or workers are lost one after the other.
        """
        loss = f"{worker} was lost {self._doing(worker, lost)}: {one_line(error)}"
        self._in_a_row += 1
        if lost:
            self._by_run[lost[0]] += 1
        if not self._restart:
            raise WorkerError(f"{loss}; it is not replaced, because restart_workers is False")
        if lost and self._by_run[lost[0]] >= _PER_RUN:
            raise WorkerError(
                f"{loss}; the third worker to be lost there, and another would be, too. Try it with num_workers=0"
            )
        if self._in_a_row > max(_IN_A_ROW, 2 * crew_size):
            raise WorkerError(f"{loss}; {self._in_a_row} workers were lost in a row, and replacing them does not help")
        log.warning("%s; another takes its place, and what it had in hand is done again", loss)

    def _doing(self, worker: Worker, lost: Sequence[Assignment]) -> str:
        if not lost:
            return "while it was idle" if worker.ready else "while it loaded the source and the stages"
        run = lost[0].run
        if run.lane is not None:
            return f"at {lost[0]}, lane {run.lane.number}"
        records = self._recipe.order.named(self._recipe.order.records(run.epoch, run.step))
        listed = ", ".join(map(str, records[:_LISTED])) + (", ..." if len(records) > _LISTED or run.steps > 1 else "")
        steps = f"steps {run.step} to {run.step + run.steps - 1}" if run.steps > 1 else f"step {run.step}"
        return f"at {steps} of epoch {run.epoch} (records {listed})"
