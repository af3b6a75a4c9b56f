"""A whole epoch out of which nothing has come, so that whoever waits for the next batch would wait for ever."""

from __future__ import annotations

from datarax_mp.pipeline.skips import Told
from datarax_mp.pipeline.state import Position


class Barren:
    """Finds out whether an epoch has gone by, from its beginning to its end, in batches without any record.

    Args:
        at: the position before the first of them.

    Attributes:
        epoch: the epoch that has been seen from its first step on, if there is one.
    """

    def __init__(self, at: Position) -> None:
        self._at = at
        self.epoch: int | None = None

    def over(self, after: Position) -> bool:
        """Whether the empty batch that ends at this position is one of a later epoch.

        An epoch whose steps are all left out (``Pipeline.skip``) has no batch of which this would be told.
        """
        if self.epoch is not None and after.epoch > self.epoch:
            return True
        if after.epoch != self._at.epoch or not self._at.step:
            self.epoch = after.epoch
        self._at = after
        return False


def no_next_batch(epoch: int | None, reason: str | None) -> ValueError:
    """The error that says so.

    Args:
        epoch: the epoch that had no batch.
        reason: why its last record was skipped; None if none was.
    """
    why = "" if reason is None else f": all of its records are skipped, the last of them because of {reason}"
    return ValueError(f"epoch {epoch} has no batch, so there is no next one{why}")


def last_reason(told: Told) -> str | None:
    """Why the last record was skipped; None if there is none."""
    return next((skips[-1].reason for skips, _, _ in reversed(told) if skips), None)
