"""The workers of two crews, for one iterator."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from datarax_mp.core.errors import WorkerError
from datarax_mp.crews.base import Abilities, Answer, Assignment, Crew, Job, Member
from datarax_mp.crews.mixed.pace import Pace
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.work import Done
from datarax_mp.ring import Ring

log = logging.getLogger("datarax_mp")

_SHORTEST, _LONGEST = 0.001, 0.02  # seconds that the near crew is waited for before the far one is looked at again


class BothCrew(Crew):
    """A crew that consists of two; see the package and ``crews.base.Crew``.

    Where the far one comes to its end, the near one goes on alone: what the far one had in hand is done again, since
    nobody but this process writes to the slots of its runs.

    Args:
        near: takes what it can, and is waited for by what the system tells of it.
        far: takes the rest where that is worth it, and is looked at from time to time meanwhile. Only this process
            writes to its slots.
        clock: seconds.
    """

    abilities = Abilities(concurrent=True, times_out=True)

    def __init__(self, near: Crew, far: Crew, clock: Callable[[], float] = time.monotonic) -> None:
        self._near, self._far = near, far
        self._alone = False  # the near one goes on without the other
        self._depth = 1  # that was last asked for
        self._slots = 0
        self._pace = Pace(clock)
        self._clock = clock
        self._away: dict[Job, float] = {}  # what the far crew has, and since when
        self._again: deque[Job] = deque()
        self._arrived: list[tuple[Job, Answer]] = []

    @property
    def replaced(self) -> int:  # type: ignore[override]
        """How many workers have died and been replaced."""
        return self._near.replaced + self._far.replaced

    @property
    def size(self) -> int:
        """See ``Crew``."""
        return self._near.size + (0 if self._alone else self._far.size)

    @property
    def spare(self) -> int:
        """See ``Crew``."""
        return self._near.spare + self._far.spare

    def members(self) -> list[Member]:
        """Those of this machine, and of the others as many as it has."""
        return self._near.members() + self._far.members()

    def layouts(self) -> Layouts:
        """What the near crew finds out."""
        return self._near.layouts()

    def holds(self, ring: Ring) -> int:
        """How many slots either is still at."""
        return self._near.holds(ring) + self._far.holds(ring)

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Make both write to this ring."""
        self._slots = ring.slots
        self._near.attach(ring, layouts)
        self._far.attach(ring, layouts)

    def has_room(self, depth: int) -> bool:
        """Whether either has."""
        self._depth = depth
        return not self._again and (self._near.has_room(depth) or self._far_has_room(depth))

    def submit(self, job: Job) -> None:
        """Give a job to the near crew, or where that has enough to the far one.

        A lane is always with the same one; with the near one as long as nobody of the far one is there.
        """
        crew = self._for(job)
        if crew is self._far:
            self._away[job] = self._clock()
            self._pace.sent()
        try:
            crew.submit(job)
        except WorkerError as error:
            if crew is self._near:
                raise
            self._go_on_alone(error)

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        """What either has finished; nothing, too, when there has come to be room, for an actor has begun, say."""
        ends = None if seconds is None else time.monotonic() + seconds
        pause, left = _SHORTEST, seconds
        full = not self.has_room(self._depth)
        self._look()
        while not self._arrived and (left is None or left > 0) and not (full and self.has_room(self._depth)):
            self._take(self._near, pause if left is None else min(pause, left))
            self._look()
            pause = min(2 * pause, _LONGEST)
            left = None if ends is None else ends - time.monotonic()
        arrived, self._arrived = self._arrived, []
        return arrived

    def stuck(self, job: Job | None, seconds: float) -> Exception:
        """What the crew says that has the job."""
        return (self._far if job in self._away else self._near).stuck(job, seconds)

    def leave(self) -> None:
        """Both end in an orderly way."""
        self._discard()
        try:
            self._near.leave()
        finally:
            if not self._alone:
                self._far.leave()

    def kill(self) -> None:
        """Both end at once."""
        try:
            self._near.kill()
        finally:
            self._far.kill()
            self._discard()

    def _look(self) -> None:
        self._take(self._near, 0)
        if not self._alone:
            try:
                self._take(self._far, 0)
            except WorkerError as error:
                self._go_on_alone(error)
        while self._again and self._near.has_room(2):  # before the next wait: the near one may have nothing else to do
            self.submit(self._again.popleft())

    def _take(self, crew: Crew, seconds: float) -> None:
        for job, answer in crew.answers(seconds):
            self._arrived.append((job, answer))
            if (since := self._away.pop(job, None)) is not None:
                self._pace.far(self._clock() - since)
            elif isinstance(answer, Done):
                self._pace.near(answer.seconds)

    def _go_on_alone(self, error: WorkerError) -> None:
        """The far crew has come to its end."""
        log.warning("the workers of this machine go on alone: %s", error)
        self._alone = True
        self._far.surrender()
        self._again.extend(self._away)
        self._away.clear()

    def _for(self, job: Job) -> Crew:
        if self._alone:
            return self._near
        lane = job.run.lane if isinstance(job, Assignment) else None
        if lane is not None:
            is_far = lane.number % self.size >= self._near.size and self._far.staffed
            return self._far if is_far else self._near
        for depth in range(1, self._depth + 1):
            if self._near.has_room(depth):
                return self._near
            if self._far_has_room(depth):
                return self._far
        return self._near

    def _far_has_room(self, depth: int) -> bool:
        """Whether the far crew is to have another run."""
        if self._alone or not self._far.has_room(depth):
            return False
        return self._pace.is_worth(self._slots / max(self._near.size, 1))

    def _discard(self) -> None:
        for job in [*self._again, *(job for job, _ in self._arrived)]:
            job.discard()
        self._again.clear()
        self._arrived = []
