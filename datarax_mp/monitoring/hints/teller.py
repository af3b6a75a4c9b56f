"""Tells hints, each once: after the first batch and every few seconds, in the thread that takes batches.

Each has a logger of its own, so that who knows better silences that one alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from datarax_mp.monitoring.hints.look import MEASURED, Look
from datarax_mp.monitoring.hints.table import HINTS, Hint

LOGGER = "datarax_mp.hints"

_told: set[tuple[str, str]] = set()  # in this process: a pipeline that is made anew for each epoch is told once


class Teller:
    """Tells hints about one pipeline; to be called often.

    Args:
        name: what the pipeline is called; of several with one name, one is told.
        clock: seconds.
        hints: by name, all there are.
        told: what has been told, by hint and pipeline.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        hints: Mapping[str, Hint] = HINTS,
        told: set[tuple[str, str]] = _told,
    ) -> None:
        self._name, self._clock, self._hints, self._told = name, clock, hints, told
        self._due = 0.0

    def tell(self, look: Callable[[], Look]) -> None:
        """Tell what there is to tell, if it is time to look.

        Args:
            look: what is known just now.
        """
        now = self._clock()
        if now < self._due:
            return
        self._due = now + MEASURED
        left = [name for name in self._hints if (name, self._name) not in self._told]
        left = [name for name in left if logging.getLogger(f"{LOGGER}.{name}").isEnabledFor(logging.WARNING)]
        if not left:
            return
        seen = look()
        for name in left:
            said = self._hints[name](seen)
            if said is not None:
                self._told.add((name, self._name))
                logger = f"{LOGGER}.{name}"
                silence = f'logging.getLogger("{logger}").setLevel("ERROR") silences this'
                logging.getLogger(logger).warning("%s: %s (%s)", self._name, said, silence)
