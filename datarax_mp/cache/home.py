"""What a recipe knows of its cache: who comes before it, under which fingerprint, and where records are."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

from datarax_mp.cache.disk import DiskStore
from datarax_mp.cache.fingerprint import fingerprint, surroundings
from datarax_mp.cache.folder import Folder
from datarax_mp.cache.locks import fcntl
from datarax_mp.cache.memory import Memory, MemoryStore, memory_of
from datarax_mp.cache.sealed import Sealer
from datarax_mp.cache.store import Store
from datarax_mp.core.refusals import in_words, is_refusal
from datarax_mp.recipe.user_code import listeners

if TYPE_CHECKING:
    from datarax_mp.recipe.recipe import Recipe
    from datarax_mp.stages.cache import Cache

log = logging.getLogger("datarax_mp")


def check(cache: Cache) -> None:
    """Make sure that records can be kept as a stage says.

    Raises:
        OSError: its folder cannot be written to, or the system has no locks of files.
        ImportError: Zstandard is not installed.
    """
    if fcntl is None:
        raise OSError("Cache needs locks of files as POSIX has them (fcntl), and this system has none")
    Sealer(cache.compress)
    if cache.path is not None:
        Folder(cache.path, cache.budget).check()


class Home:
    """Where a recipe's records are kept. It goes to workers with the recipe; main renews it when an epoch begins.

    Args:
        cache: the stage.
        before: how many of the recipe's stages come before it.

    Attributes:
        cache: see above.
        before: see above.
        key: the fingerprint; empty before the first epoch, and then nothing is kept.
    """

    def __init__(self, cache: Cache, before: int) -> None:
        self.cache, self.before = cache, before
        self.key = ""
        self._memory: Memory | None = None

    def renew(self, recipe: Recipe) -> None:
        """Find out what stands for what comes before the cache, as it is now.

        Raises:
            TypeError: that cannot be known; the message says of what.
            ValueError: it is not the same every time, by what it holds.
            OSError: there can be no memory.
        """
        source, stages = recipe.source, recipe.stages[: self.before]
        if listening := listeners(source, stages):
            raise ValueError(
                f"{listening[0][0]} has set_epoch, so that what comes of a record may depend on the epoch, and what "
                "stands before Cache is computed once. Put it behind, or do without set_epoch"
            )
        expansion = recipe.order.expansion if self.by_item(recipe) else None
        parts: dict[str, Any] = {f"source ({type(source).__name__})": source}
        parts |= {f"stages[{place}] ({stage.name})": stage for place, stage in enumerate(stages)}
        ends = None if expansion is None else hashlib.blake2b(expansion.ends.tobytes()).digest()
        init = None if recipe.init is None else recipe.init.fn
        rest = [recipe.reading.fields, ends, self.cache.compress is not None]
        key = fingerprint(parts | {"worker_init": init, "the rest": [*rest, surroundings()]})
        if self.cache.folder is None:
            records = len(source) if expansion is None else expansion.items
            self._memory = memory_of(key, records, self.cache.budget)
        if key != self.key:
            log.debug("Cache: the fingerprint of what comes before it is %s", key)
        self.key = key

    def close(self) -> None:
        """Let go of the memory; records that are still wanted are computed."""
        self.key, self._memory = "", None

    def by_item(self, recipe: Recipe) -> bool:
        """Whether what is kept are items of records, and not records."""
        return recipe.order.expansion is not None and self.before >= len(recipe.until_items)

    def store(self) -> Store | None:
        """The records, for one thread of this process; None where none can be kept, which is told to the log."""
        if not self.key:
            return None
        sealer = Sealer(self.cache.compress)
        if self._memory is not None:
            return MemoryStore(self._memory, sealer)
        assert self.cache.path is not None
        try:
            return DiskStore(Folder(self.cache.path, self.cache.budget), self.key, sealer)
        except OSError as error:
            if not is_refusal(error):
                raise
            log.warning(
                "Cache: this process keeps no records in %s, and computes them: %s", self.cache.path, in_words(error)
            )
            return None
