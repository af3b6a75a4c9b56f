"""Which records filters leave, and how many each becomes: found once by a pass over the source, kept while it holds."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.expansion import Expansion
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.scan import passes
from datarax_mp.recipe.items import expand

log = logging.getLogger("datarax_mp")

_MOST_DECIDED = 4  # results that are kept for one source

_decided: weakref.WeakKeyDictionary[Any, deque[Survivors]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True, eq=False)
class Survivors:
    """The records that filters leave.

    Attributes:
        key: a digest of source and stages, and how records are read.
        numbers: the records' numbers, ascending.
        expansion: where a stage makes several records of one, which items each record has; else None.
    """

    key: Hashable
    numbers: NDArray[np.int64]
    expansion: Expansion | None

    def same(self, other: Survivors) -> bool:
        """Whether they are the same records, and as many items."""
        mine, theirs = self.expansion, other.expansion
        if mine is None or theirs is None:
            return mine is theirs and np.array_equal(self.numbers, other.numbers)
        return np.array_equal(mine.ends, theirs.ends)


def survivors(source: Any, config: Config, *, last: Survivors | None) -> Survivors:
    """The records that pass all filters; found anew when source or stages are not what they were.

    Args:
        source: the source.
        config: the pipeline's; of its host stages those after the last Filter or FlatMap do not count. With ``skip``
            set, a record for which something is raised counts as one that passes, and the epoch deals with it.
        last: what was found before, returned if it still holds.

    Raises:
        ValueError: none is left.
    """
    from datarax_mp.shipping.digest import digest  # delayed: only filters need it

    deciding = [place for place, stage in enumerate(config.host) if stage.decides or stage.expands]
    stages = config.host[: deciding[-1] + 1]
    key = digest((source, stages)), config.skip, config.reading
    if (known := _remembered(source, key, last)) is not None:
        return known
    counts = _counts(source, _Count(stages), config)
    found = np.flatnonzero(counts)
    names = ", ".join(config.host[place].name for place in deciding)
    if not len(found):
        raise ValueError(f"{names} leaves none of the {len(source)} records of {type(source).__name__}")
    log.info("%s leaves %d of %d records", names, len(found), len(source))
    found.flags.writeable = False
    expansion = Expansion.of(counts) if any(stage.expands for stage in stages) else None
    # Once more, because the pass may have moved the source's data to shared memory, or changed what the source keeps.
    left = Survivors((digest((source, stages)), *key[1:]), found, expansion)
    with suppress(TypeError):  # it cannot be a key
        _decided.setdefault(source, deque(maxlen=_MOST_DECIDED)).append(left)
    return left


def _remembered(source: Any, key: Hashable, last: Survivors | None) -> Survivors | None:
    if last is not None and last.key == key:
        return last
    try:
        known = list(_decided.get(source, ()))
    except TypeError:  # it cannot be a key
        return None
    return next((left for left in known if left.key == key), None)


def _counts(source: Any, count: _Count, config: Config) -> NDArray[np.uint32]:
    """How many each record becomes; 1 for one that is to be skipped in its epoch."""
    counts = np.ones(len(source), np.uint32)
    for numbers, found, there in passes(
        source, count, config.options, skip=config.skip, reading=config.reading, init=config.init
    ):
        counts[numbers[there]] = found
    return counts


class _Count:
    """A stage that says how many a record becomes; 0 if a filter leaves it out."""

    def __init__(self, stages: Sequence[Any]) -> None:
        self.stages = stages
        self.__name__ = " ".join(stage.name for stage in stages)

    def __call__(self, record: Any) -> dict[str, int]:
        return {"items": len(expand(self.stages, [record]))}
