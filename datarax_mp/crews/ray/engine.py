"""Ray actors as a way of making batches."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque

try:
    import ray
except ImportError as error:
    raise ImportError('workers="ray" needs Ray: pip install "datarax-mp[ray]"', name=error.name) from error

from datarax_mp.core.waker import Waker
from datarax_mp.crews.ray.cluster import Stay
from datarax_mp.crews.ray.crew import RayCrew
from datarax_mp.crews.ray.package import Package
from datarax_mp.crews.ray.worker import Worker
from datarax_mp.crews.ray.workers import RayWorkers
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.shipping.copied_generators import warn_of_generators
from datarax_mp.shipping.package import SerializedRecipe

_numbers = itertools.count(1)


class RayEngine:
    """Ray actors, as ``crews.base.Engine`` says. They stay until it is closed.

    Blocks of a source are read by every actor for itself: no memory is shared by all of them.

    Args:
        recipe: what they do.
        options: where they are.
        others: how many workers of another kind there are beside them.
        restart: whether one that is lost is replaced; otherwise that is an error.
        timeout: seconds to wait for the layouts, or None.
    """

    shared = False
    shelves = False

    def __init__(
        self, recipe: Recipe, options: RayWorkers, *, others: int = 0, restart: bool, timeout: float | None
    ) -> None:
        self._recipe, self._options = recipe, options
        self._restart, self._timeout, self._others = restart, timeout, others
        self._process = os.getpid()
        self._stay: Stay | None = None
        self._working = 0  # crews
        self._closed = False
        self._package: Package | None = None
        self._idle: deque[Worker] = deque()

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> RayCrew:
        """So many actors, with the recipe as the user has it now; those that the cluster has no room for come later.

        Raises:
            RuntimeError: this process has been forked, and Ray does not work in it.
        """
        if self._process != os.getpid():
            raise RuntimeError("this process was forked by one that uses Ray, which does not work in it; start another")
        self._closed = False
        if self._stay is None or not self._stay.there():
            self._forget()
            self._stay = Stay(self._options.address)
        package = self._package_now()
        self._working += 1
        return RayCrew(
            self._recipe,
            package,
            self._options,
            self._hire,
            self._park,
            self._stay.there,
            size,
            others=self._others,
            epoch=epoch,
            restart=self._restart,
            timeout=self._timeout,
            waker=waker,
        )

    def finish(self, deadline: float) -> None:
        """Wait until idle actors are through with what an iterator had left to them; who is not then is killed."""
        if self._stay is None or not self._stay.there():
            return  # they have ended with their Ray
        for worker in [worker for worker in self._idle if worker.left]:
            left = max(0.0, deadline - time.monotonic())
            _, busy = ray.wait(worker.left, num_returns=len(worker.left), timeout=left)
            worker.left = []
            if busy:
                self._idle.remove(worker)
                worker.kill()

    def close(self) -> None:
        """End the actors, let go of the recipe, and of Ray if nobody else of this package uses it."""
        self._closed = True
        if self._process == os.getpid() and not self._working:
            self._forget()

    def _forget(self) -> None:
        while self._idle:
            self._idle.pop().kill()
        self._package = None
        if self._stay is not None:
            self._stay.end()
            self._stay = None

    def _hire(self) -> Worker:
        assert self._stay is not None  # as long as a crew works
        return self._idle.popleft() if self._idle else Worker(self._options, self._stay.there)

    def _park(self, workers: list[Worker]) -> None:
        """A crew has come to its end, and gives back those that live."""
        self._working -= 1
        for worker in workers:
            if worker.ready:
                self._idle.append(worker)
            else:
                worker.kill()  # it waits for room that others may want
        if self._closed and not self._working:
            self._forget()

    def _package_now(self) -> Package:
        """The recipe as the user has it now: what was changed between two epochs reaches the actors."""
        known = self._package
        if known is None or not (known.serialized.intact() and known.serialized.holds(self._recipe)):
            serialized = SerializedRecipe(self._recipe, next(_numbers))
            self._package = Package(serialized, known)
            if known is None:
                warn_of_generators(self._recipe, serialized.kinds)
            return self._package
        return known
