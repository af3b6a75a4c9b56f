"""What the deaths of a crew's workers mean: a word in the log, or that it is no use to go on."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Hashable

from datarax_mp.core.errors import WorkerError, describe_exit, likely_cause
from datarax_mp.crews.base import Job
from datarax_mp.crews.blame import culprit, whereabouts
from datarax_mp.crews.processes.pool import pool
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import Phase

log = logging.getLogger("datarax_mp")

_PER_PLACE = 2  # what has killed two workers will kill the third
_KILLED_LOADING = 3  # and one for each worker: loading takes long, so that kills by others often fall into it
_IN_A_ROW = 5  # no step finished in between: replacing more would only go on and on


class Deaths:
    """Those of one crew.

    Args:
        recipe: what the workers do; for the words about it.
        restart: whether a worker that dies is replaced; otherwise its death is an error.
    """

    def __init__(self, recipe: Recipe, *, restart: bool) -> None:
        self._recipe, self._restart = recipe, restart
        self._by_culprit: Counter[Hashable] = Counter()
        self._in_a_row = 0

    def note_progress(self) -> None:
        """A run was finished: workers do not die one after the other, nor of what they load."""
        self._in_a_row = 0
        self._by_culprit.pop(Phase.LOADING, None)

    def report(self, worker: Worker, lost: list[Job], crew_size: int, *, cut_off: bool) -> None:
        """Log a death, or raise if there have been too many.

        Args:
            worker: who has died.
            lost: what it had in hand.
            crew_size: how many others there are.
            cut_off: whether it had closed its channel and lived on, so that it was killed.

        Raises:
            WorkerError: a record has killed as many workers as it may, or workers die one after the other.
        """
        status, sighting = pool().exit_status(worker), worker.sighting()
        death = self._describe(worker, lost, status, cut_off=cut_off)
        idle = sighting.phase == Phase.IDLE and not lost  # a parked one that leaves just now, say
        if idle or worker.was_overdue():
            log.debug("%s; nobody waited for it", death)
            return
        if stack := worker.stack():
            death += f"\n{stack}\n"
        self._in_a_row += 1
        blamed = None if status is None else culprit(sighting, lost)
        if blamed is not None:
            self._by_culprit[blamed] += 1
        if (trouble := self._trouble(blamed, status, crew_size)) is not None:
            raise WorkerError(f"{death}; {trouble}")
        log.warning("%s; a new worker takes its place and does the work again", death)

    def _describe(self, worker: Worker, lost: list[Job], status: int | None, *, cut_off: bool) -> str:
        sighting = worker.sighting()
        how = "died with its parent, the nursery," if status is None else f"died of {describe_exit(status)}"
        if cut_off:
            how = "had its channel closed, by code that closes descriptors it did not open, and was ended"
        death = f"{worker} {how} {whereabouts(sighting, self._recipe)}"
        if sighting.phase == Phase.IDLE and lost:
            death += f" (before {lost[0]})"
        if status is not None and not cut_off:
            death += likely_cause(status) + pool().memory_cause(status)
        return death

    def _trouble(self, blamed: Hashable, status: int | None, crew_size: int) -> str | None:
        """Why a dead worker is not to be replaced, or None if it is."""
        if not self._restart:
            return "it is not replaced, because restart_workers is False"
        by_others = blamed == Phase.LOADING and status in (-signal.SIGKILL, -signal.SIGTERM)
        died = self._by_culprit[blamed]
        if died >= (_KILLED_LOADING + crew_size if by_others else _PER_PLACE):
            which = "the second worker to die there" if died == _PER_PLACE else f"{died} workers have died there"
            return f"{which}, and another would too. Try it with num_workers=0"
        if self._in_a_row > max(_IN_A_ROW, 2 * crew_size):
            return f"{self._in_a_row} workers have died in a row, and replacing them does not help"
        return None
