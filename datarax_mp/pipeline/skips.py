"""What ``on_error="skip"`` has left out: counted, listed, logged, and told to whoever wants to know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

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


Told: TypeAlias = tuple[tuple[tuple[Skip, ...], int, int], ...]
"""What was skipped on the way to a batch: of each step the skips, and its epoch and number."""


class _Counted(NamedTuple):
    """All that were skipped. One value, so that count and list agree whenever somebody looks, or interrupts."""

    total: int
    newest: tuple[tuple[SkippedRecord, Skip], ...]  # each with what it was made of


class Skips:
    """The records that one pipeline has skipped, of the batches that were received.

    Args:
        told: called with every ``SkippedRecord``, or None.
    """

    def __init__(self, told: Callable[[SkippedRecord], Any] | None = None) -> None:
        self._told = told
        self._counted = _Counted(0, ())
        self._logged = (-1, 0)  # an epoch, and how many of its records were logged

    @property
    def count(self) -> int:
        """How many there were."""
        return self._counted.total

    def newest(self) -> list[SkippedRecord]:
        """The newest 1,000, oldest first."""
        return [record for record, _ in self._counted.newest]

    def received(self, told: Told) -> None:
        """Take up the records that are missing from a batch which the caller is about to receive, or before it."""
        found = tuple(
            (SkippedRecord(skip.record, epoch, step, skip.reason), skip) for of, epoch, step in told for skip in of
        )
        for one in found:
            total, newest = self._counted
            self._counted = _Counted(total + 1, (*newest, one)[-_LISTED:])
            self._log(one[0])
            if self._told is not None:
                self._told(one[0])

    def take_back(self, told: Told) -> None:
        """Forget what was taken up, as far as it was: the caller has not received the batch after all."""
        total, newest = self._counted
        turns = {id(skip): turn for turn, skip in enumerate((skip for of, *_ in told for skip in of), 1)}
        taken_up = max((turns.get(id(skip), 0) for _, skip in newest), default=0)  # they were, in turn, up to this one
        self._counted = _Counted(total - taken_up, tuple(one for one in newest if id(one[1]) not in turns))

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
