"""``num_workers="auto"``: as many workers as it takes for the caller not to wait, found while the pipeline runs.

The caller's training step takes its time, and a batch takes a worker's. Neither is known beforehand, but their ratio
shows: where W busy workers leave the caller waiting for a share f of the time, the caller could take batches
1 / (1 - f) times as fast, so W / (1 - f) workers are needed. One worker begins; a look every quarter of a second at
most doubles them, as far as there are cores and as long as more of them help. What is found is kept for the next epoch.

Which records make a batch does not depend on any of this.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

log = logging.getLogger("datarax_mp")

_LOOK_SECONDS = 0.25
_LOOK_BATCHES = 4  # per worker: fewer say little
_WAITING = 0.1  # a share of time that is not worth a process
_GAIN = 1.1  # in batches per second, or else more workers do not help


class WorkerTuner:
    """Decides how many workers a pipeline has.

    Attributes:
        workers: how many it should have now.

    Args:
        most: how many it may have.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.workers, self._most, self._clock = 1, most, clock
        self._settled = most <= 1
        self._rate_before = 0.0
        self._in_vain = 0
        self._starting = False
        self.begin()

    def begin(self) -> None:
        """Start to look anew: an epoch begins, or workers have been added."""
        self._since = self._clock()
        self._waited, self._batches = 0.0, 0

    def observe(self, waited: float, batches: int) -> bool:
        """Take note of batches that were delivered, and decide whether there should be more workers.

        Args:
            waited: seconds that the caller waited for them.
            batches: how many.

        Returns:
            Whether ``workers`` has grown.
        """
        if self._settled:
            return False
        self._waited += waited
        self._batches += batches
        seconds = self._clock() - self._since
        if seconds < _LOOK_SECONDS or self._batches < _LOOK_BATCHES * self.workers:
            return False
        share, rate = self._waited / seconds, self._batches / seconds
        self.begin()
        if self._starting:  # a look at workers that were just being started says nothing
            self._starting = False
            return False
        if share <= _WAITING:
            self._rate_before = 0.0  # what comes later is compared with nothing: the caller sets the pace now
            return False
        if rate < _GAIN * self._rate_before:
            self._in_vain += 1
            if self._in_vain == 2:
                self._settle(f"more do not help, though the caller waits {share:.0%} of the time")
            return False
        self._rate_before, self._in_vain, self._starting = rate, 0, True
        self.workers = min(self._most, 2 * self.workers, math.ceil(self.workers / max(1 - share, 1e-3)))
        log.info(
            "num_workers='auto': %d workers from now on, because the caller waited %.0f %% of the time",
            self.workers,
            100 * share,
        )
        if self.workers == self._most:
            self._settle(f"the process may use {self._most} cores")
        return True

    def _settle(self, why: str) -> None:
        self._settled = True
        log.info("num_workers='auto': it stays at %d workers; %s", self.workers, why)
