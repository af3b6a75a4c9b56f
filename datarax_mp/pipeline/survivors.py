"""Which records filters leave, found once by a pass over the source and kept for as long as that holds."""

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

from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.scan import passes

log = logging.getLogger("datarax_mp")

_MOST_DECIDED = 4  # results that are kept for one source

_decided: weakref.WeakKeyDictionary[Any, deque[Survivors]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True, eq=False)
class Survivors:
    """The records that filters leave.

    Attributes:
        key: a digest of source and stages, and how records are read.
        numbers: the records' numbers, ascending.
    """

    key: Hashable
    numbers: NDArray[np.int64]

    def same(self, other: Survivors) -> bool:
        """Whether they are the same records."""
        return np.array_equal(self.numbers, other.numbers)


def survivors(source: Any, config: Config, *, last: Survivors | None) -> Survivors:
    """The records that pass all filters; found anew when source or stages are not what they were.

    Args:
        source: the source.
        config: the pipeline's; of its host stages those after the last filter do not count. With ``skip`` set, a record
            for which something is raised counts as one that passes, and the epoch deals with it.
        last: what was found before, returned if it still holds.

    Raises:
        ValueError: none is left.
    """
    from datarax_mp.shipping.digest import digest  # delayed: only filters need it

    last_filter = max(place for place, stage in enumerate(config.host) if stage.decides)
    stages = config.host[: last_filter + 1]
    key = digest((source, stages)), config.skip, config.reading
    if (known := _remembered(source, key, last)) is not None:
        return known
    kept = []
    passing = passes(
        source, _Decision(stages), config.options, skip=config.skip, reading=config.reading, init=config.init
    )
    for numbers, passed, there in passing:
        fate = np.ones(len(numbers), bool)
        fate[there] = passed
        kept.append(numbers[fate])
    found = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    names = ", ".join(stage.name for stage in stages if stage.decides)
    if not len(found):
        raise ValueError(f"{names} leaves none of the {len(source)} records of {type(source).__name__}")
    log.info("%s leaves %d of %d records", names, len(found), len(source))
    found.flags.writeable = False
    # Once more, because the pass may have moved the source's data to shared memory, or changed what the source keeps.
    left = Survivors((digest((source, stages)), *key[1:]), found)
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


class _Decision:
    """A stage that says whether a record passes all filters."""

    def __init__(self, stages: Sequence[Any]) -> None:
        self.stages = stages
        self.__name__ = " ".join(stage.name for stage in stages)

    def __call__(self, record: Any) -> dict[str, bool]:
        for stage in self.stages:
            result = stage.fn(record)
            if not stage.decides:
                record = result
            elif not result:
                return {"passes": False}
        return {"passes": True}
