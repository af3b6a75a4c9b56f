"""Two engines as one."""

from __future__ import annotations

from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Engine
from datarax_mp.crews.mixed.crew import BothCrew


class BothEngine:
    """Workers of two kinds, as ``crews.base.Engine`` says.

    Blocks of a source are read by every worker for itself, since one kind has no memory in common with the other.

    Args:
        near: makes the workers of this machine.
        far: makes the others.
        nearby: how many are of this machine; the others are of the other kind.
    """

    shared = True
    shelves = False

    def __init__(self, near: Engine, far: Engine, nearby: int) -> None:
        self._near, self._far, self._nearby = near, far, nearby

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> BothCrew:
        """So many workers of both kinds; those of this machine find the layouts, since they are there first."""
        near = self._near.crew(epoch, size=self._nearby, probe=probe, waker=waker)
        try:
            far = self._far.crew(epoch, size=size - self._nearby, probe=False, waker=waker)
        except BaseException:
            near.kill()
            raise
        return BothCrew(near, far)

    def finish(self, deadline: float) -> None:
        """Wait until nobody of either kind is at work for an epoch that was left."""
        self._near.finish(deadline)
        self._far.finish(deadline)

    def close(self) -> None:
        """Let go of what both keep."""
        try:
            self._near.close()
        finally:
            self._far.close()
