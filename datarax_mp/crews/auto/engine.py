"""An engine that is threads or processes, once that has been found out."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from datarax_mp.core.cores import usable_cores
from datarax_mp.core.strays import claimed, is_stray
from datarax_mp.core.waker import Waker
from datarax_mp.crews.auto.kept import Kept
from datarax_mp.crews.auto.trial import MOST_THREADS, attempt
from datarax_mp.crews.auto.verdict import Decision, Verdict
from datarax_mp.crews.base import Crew, Engine
from datarax_mp.crews.threads.engine import ThreadEngine
from datarax_mp.order.lanes import LaneOrder
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.ring.segment import SharedMemoryError
from datarax_mp.sources.facts import SourceFacts

if TYPE_CHECKING:
    from datarax_mp.crews.processes.engine import ProcessEngine
    from datarax_mp.shipping.package import SerializedRecipe

log = logging.getLogger("datarax_mp")


class Nothing:
    """Stands for a source that is not copied."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, number: int) -> Any:
        raise IndexError(number)


class AutoEngine:
    """Threads or processes, as ``crews.base.Engine`` says. The first ``crew`` chooses, unless that has been done.

    Args:
        recipe: what is done.
        most: how many workers there may be.
        decision: where the choice is kept.
        lacking: what this system lacks of what processes need.
        asked: how the user has asked for it, for the log.
        fewer: as for ``choose``.
        restart: likewise.
        timeout: likewise.
    """

    shelves = True

    def __init__(
        self,
        recipe: Recipe,
        most: int,
        decision: Decision,
        *,
        lacking: list[str],
        asked: str,
        fewer: bool,
        restart: bool,
        timeout: float | None,
    ) -> None:
        self._recipe, self._most, self._decision = recipe, most, decision
        self.shared = True  # until there is a crew of threads
        self._lacking, self._asked = lacking, asked
        self._fewer, self._restart, self._timeout = fewer, restart, timeout
        self._threads: ThreadEngine | None = None
        self._processes: ProcessEngine | None = None

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> Crew:
        """Have workers, of the kind that has been chosen."""
        if self._decision.verdict is None:
            began = time.perf_counter()
            verdict = self._choose(epoch, waker)
            self._decision.seconds = time.perf_counter() - began
            self._decision.verdict = verdict
            log.info("%s: %s, because %s", self._asked, verdict.kind, verdict.why)
        return self._chosen(self._decision.verdict).crew(epoch, size=size, probe=probe, waker=waker)

    def _chosen(self, verdict: Verdict) -> Engine:
        self.shared = verdict.kind == "processes"
        if self.shared:
            return self._of_processes()
        if self._threads is None:
            self._threads = ThreadEngine(self._recipe, self._most, timeout=self._timeout)
        if self._processes is not None:
            processes, self._processes = self._processes, None
            processes.close()
        return self._threads

    def _of_processes(self) -> ProcessEngine:
        if self._processes is None:
            from datarax_mp.crews.processes.engine import ProcessEngine  # delayed: threads need nothing of it

            self._processes = ProcessEngine(
                self._recipe, self._most, fewer=self._fewer, restart=self._restart, timeout=self._timeout
            )
        return self._processes

    def _choose(self, epoch: int, waker: Waker) -> Verdict:
        recipe = self._recipe
        if self._lacking:
            return Verdict("threads", f"processes need what this system lacks ({', '.join(self._lacking)})")
        if isinstance(recipe.order, LaneOrder):
            return Verdict("processes", "what comes out of iterators cannot be read once more, to try threads")
        if recipe.init is not None:
            return Verdict("processes", "worker_init prepares a process, and threads share theirs")
        try:
            serialized = self._serialized()
        except (TypeError, SharedMemoryError) as error:
            if is_stray(error) or Kept(recipe).shared() is not None:
                raise  # what is open for one reader is not for several
            return Verdict("threads", str(error).partition(". Make it")[0])
        if self._most == 1:
            return Verdict("processes", "there may be one worker alone")
        try:
            recipe = recipe if serialized is None else self._copy(serialized)
        except Exception as error:
            if not claimed(error):
                raise
            return Verdict("processes", f"a copy of the source and the stages cannot be made here ({error!r})")
        # Without the cache, which would have what the first thread has made.
        recipe = dataclasses.replace(recipe, cache=None)
        threads = min(self._most, MOST_THREADS, max(usable_cores(), 2))
        return attempt(recipe, epoch, threads=threads, timeout=self._timeout, waker=waker)

    @property
    def _own_source(self) -> bool:
        """Whether the source is one of this package, which threads may share: it need not be copied, and is large."""
        return not SourceFacts.of(self._recipe.source).user_code

    def _serialized(self) -> SerializedRecipe | None:
        """What is the user's in the recipe, serialised, if anything is."""
        if not self._recipe.user_code:
            return None
        if not self._own_source:
            return self._of_processes().serialized()
        from datarax_mp.shipping.package import SerializedRecipe  # delayed, as in ``_of_processes``

        return SerializedRecipe(dataclasses.replace(self._recipe, source=Nothing(), cache=None), 0)

    def _copy(self, serialized: SerializedRecipe) -> Recipe:
        copied: Recipe = serialized.copied()
        return dataclasses.replace(copied, source=self._recipe.source) if self._own_source else copied

    def finish(self, deadline: float) -> None:
        """Wait until no code of the recipe's runs for an epoch that was left."""
        for engine in (self._threads, self._processes):
            if engine is not None:
                engine.finish(deadline)

    def close(self) -> None:
        """Let go of what is kept for the next epoch."""
        for engine in (self._threads, self._processes):
            if engine is not None:
                engine.close()
