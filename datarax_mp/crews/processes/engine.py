"""What the worker processes of all epochs of one pipeline have in common: the serialised recipe and the environment.

Between epochs the workers are parked in the pool, with the recipe still loaded, so that another pipeline can take them
over.
"""

from __future__ import annotations

import os
import time
from collections import deque

from datarax_mp.core.waker import Waker
from datarax_mp.crews.processes.crew import ProcessCrew
from datarax_mp.crews.processes.crowd import Crowd
from datarax_mp.crews.processes.environment import Environment
from datarax_mp.crews.processes.pool import pool, recipe_ids
from datarax_mp.order.lanes import LaneOrder
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.shipping.copied_generators import warn_of_generators
from datarax_mp.shipping.package import SerializedRecipe

_KEPT_IDS = 8  # workers with a recipe that is older than that have long been given another


class ProcessEngine:
    """Worker processes, as ``crews.base.Engine`` says. The first ``crew`` serialises the recipe.

    Args:
        recipe: what they do.
        most: how many there may be.
        others: how many workers of another kind there are beside them.
        fewer: whether less will do, where so many cannot be started.
        restart: whether a worker that dies is replaced; otherwise its death is an error.
        timeout: seconds to wait for the layouts, or None.
    """

    shared = True
    shelves = True

    def __init__(
        self, recipe: Recipe, most: int, *, others: int = 0, fewer: bool, restart: bool, timeout: float | None
    ) -> None:
        self._recipe, self._most, self._others = recipe, most, others
        self._fewer, self._restart, self._timeout = fewer, restart, timeout
        self._recipe_ids: deque[int] = deque(maxlen=_KEPT_IDS)  # what the recipe has been called so far
        self._process = os.getpid()
        self._serialized: SerializedRecipe | None = None
        self._environment: Environment | None = None
        # A lane stays with its worker, whoever else is free.
        self._crowd = Crowd(limited=not isinstance(recipe.order, LaneOrder))

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> ProcessCrew:
        """So many workers, with the recipe as the user has it now."""
        self._process = os.getpid()
        return ProcessCrew(
            self._recipe,
            self.serialized(),
            size,
            most=self._most,
            others=self._others,
            fewer=self._fewer,
            probe=epoch if probe else None,
            restart=self._restart,
            timeout=self._timeout,
            environment=self._environment_now(),
            crowd=self._crowd,
            waker=waker,
        )

    def serialized(self) -> SerializedRecipe:
        """The recipe as the user has it now: what was changed between two epochs reaches the workers.

        Raises:
            TypeError: it cannot be sent to workers.
            SharedMemoryError: there is too little memory for it.
        """
        known = self._serialized  # which may be closed at any time, see ``close``
        if known is None or not (known.intact() and known.holds(self._recipe)):
            recipe_id = next(recipe_ids)
            self._recipe_ids.append(recipe_id)
            fresh = known is None
            known = self._serialized = SerializedRecipe(self._recipe, recipe_id)
            if fresh:
                warn_of_generators(self._recipe, known.kinds)
        return known

    def finish(self, deadline: float) -> None:
        """Wait until no parked worker is busy with this recipe; those that still are at the deadline are killed."""
        for recipe_id in list(self._recipe_ids):
            pool().finish(recipe_id, max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Let go of the serialised recipe, here and in parked workers."""
        self._serialized = None
        if self._process == os.getpid():  # in a forked child, what was parked is the parent's
            for recipe_id in list(self._recipe_ids):
                pool().unload(recipe_id)

    def _environment_now(self) -> Environment:
        """What the user's code is to find in a worker; where there is none, it does not matter what has changed."""
        if self._environment is None or self._recipe.user_code:
            self._environment = Environment.here()
        return self._environment
