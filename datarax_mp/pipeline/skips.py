"""What ``on_error="skip"`` has left out: counted, listed, logged, and told to whoever wants to know."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datarax_mp.recipe.work import Skip

log = logging.getLogger("datarax_mp")

_LISTED = 1000  # a damaged data set must not fill the memory
_LOGGED = 10  # records of one epoch that are logged singly; nor flood the log


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record that was left out.

    Attributes:
        record: its number in the source.
        epoch: the epoch.
        step: the step of the batch that it is missing from.
        reason: what was raised, with its notes, in one line.
    """

    record: int
    epoch: int
    step: int
    reason: str


class Skips:
    """The records that one pipeline has skipped, of the batches that were received.

    Args:
        told: called with every ``SkippedRecord``, or None.

    Attributes:
        count: how many there were.
    """

    def __init__(self, told: Callable[[SkippedRecord], Any] | None = None) -> None:
        self.count = 0
        self._told = told
        self._newest: deque[SkippedRecord] = deque(maxlen=_LISTED)
        self._logged = (-1, 0)  # an epoch, and how many of its records were logged

    def newest(self) -> list[SkippedRecord]:
        """The newest 1,000, oldest first."""
        return list(self._newest)

    def received(self, skips: Sequence[Skip], epoch: int, step: int) -> None:
        """Take up the records that are missing from a batch which the caller is about to receive."""
        for skip in skips:
            skipped = SkippedRecord(skip.record, epoch, step, skip.reason)
            self.count += 1
            self._newest.append(skipped)
            self._log(skipped)
            if self._told is not None:
                self._told(skipped)

    def _log(self, skipped: SkippedRecord) -> None:
        epoch, before = self._logged
        before = before if epoch == skipped.epoch else 0
        if before < _LOGGED:
            log.warning(
                "record %d is skipped (step %d of epoch %d): %s",
                skipped.record,
                skipped.step,
                skipped.epoch,
                skipped.reason,
            )
        elif before == _LOGGED:
            log.warning("more records of epoch %d are skipped; Pipeline.skips lists them", skipped.epoch)
        self._logged = skipped.epoch, before + 1
