"""One pass over a whole source by worker processes, whose results main keeps.

    source --> workers: fn(record) --> numbers and values, in the source's order

``Filter`` finds out in this way which records are left, and packing how long the documents are.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import Order, Sequential
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.session import Options, Session, Work
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.recipe.recipe import Reading, Recipe
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.sources import as_source
from datarax_mp.stages.base import Stage
from datarax_mp.stages.map_element import MapElement

if TYPE_CHECKING:
    from datarax_mp.feed.host_batch import HostBatch

log = logging.getLogger("datarax_mp")

_RECORDS = 64  # that a worker reads at a time

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


def scan(source: Any, fn: Callable[[Any], Any], *, num_workers: int = 0) -> np.ndarray:
    """Apply a function to every record of a source, in worker processes, and stack what it returns.

    Args:
        source: whatever a ``Pipeline`` takes.
        fn: ``record -> scalar or array``, the same shape and dtype for every record.
        num_workers: worker processes; 0 works in the calling process.

    Returns:
        An array ``(len(source), ...)`` of the function's dtype.

    Raises:
        Exception: what the source or the function raised; the notes name the record.

    >>> scan(["a", "four", "to"], len).tolist()
    [1, 4, 2]
    """
    options = Options(num_workers, 2, "numpy", None, None, None, True, _RECORDS)
    parts = list(_passes(as_source(source), MapElement(_Value(fn)), options, skip=False, reading=Reading(), init=None))
    return np.concatenate([values for _, values, _ in parts])


def survivors(
    source: Any,
    stages: Sequence[Stage],
    options: Options,
    *,
    skip: bool,
    reading: Reading,
    init: WorkerInit | None,
    last: Survivors | None,
) -> Survivors:
    """The records that pass all filters among the stages; found anew when source or stages are not what they were.

    Args:
        source: the source.
        stages: host stages, of which those after the last filter do not count.
        options: of the pipeline; workers, time limit and restarts are as it says.
        skip: whether a record for which something is raised counts as one that passes; then the epoch deals with it.
        reading: how records are read.
        init: see ``Program``.
        last: what was found before, returned if it still holds.

    Raises:
        ValueError: none is left.
    """
    from datarax_mp.shipping.digest import digest  # delayed: only filters need it

    filters = max(place for place, stage in enumerate(stages) if stage.decides)
    stages = tuple(stages[: filters + 1])
    key = digest((source, stages)), skip, reading
    if (known := _remembered(source, key, last)) is not None:
        return known
    kept = []
    scanning = Options(options.num_workers, 2, "numpy", None, None, options.timeout, options.restart_workers, _RECORDS)
    passing = _passes(source, MapElement(_Decision(stages)), scanning, skip=skip, reading=reading, init=init)
    for numbers, passes, there in passing:
        fate = np.ones(len(numbers), bool)
        fate[there] = passes
        kept.append(numbers[fate])
    found = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    names = ", ".join(stage.name for stage in stages if stage.decides)
    if not len(found):
        raise ValueError(f"{names} leaves none of the {len(source)} records of {type(source).__name__}")
    log.info("%s leaves %d of %d records", names, len(found), len(source))
    found.flags.writeable = False
    # Once more, because the pass may have moved the source's data to shared memory, or changed what the source keeps.
    survivors = Survivors((digest((source, stages)), *key[1:]), found)
    with suppress(TypeError):  # it cannot be a key
        _decided.setdefault(source, deque(maxlen=_MOST_DECIDED)).append(survivors)
    return survivors


def _passes(
    source: Any, stage: MapElement, options: Options, *, skip: bool, reading: Reading, init: WorkerInit | None
) -> Iterator[tuple[NDArray[np.int64], np.ndarray, NDArray[np.int64]]]:
    """For each portion of the source: record numbers, the values of those that did not raise, and which those are."""

    def deliver(batch: HostBatch, work: Work, _: int) -> Any:
        numbers = work.order.records(0, batch.step)
        there = np.delete(np.arange(len(numbers)), [skip.row for skip in batch.skips])
        return numbers, batch.arrays()[0][: len(there)].copy(), there

    order = Order(Sequential(len(source)), batch_size=_RECORDS)
    # Padded, so that a portion in which every record raises is delivered too.
    program = Recipe(source, (stage,), order, x64=None, pad=True, skip=skip, reading=reading, init=init)
    session = Session(program, options, deliver)
    cursor = Cursor(Position(order, 0, 0))
    iterator = PipelineIterator(session, cursor, 2, _no_state, _no_state, lambda *_: None)
    with closing(session), closing(iterator):
        iterator.begin()
        yield from iterator


def _no_state(*_: Any) -> Any:
    raise AssertionError("a scan has no state")


class _Value:
    """A stage that makes a field of what a function returns."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = fn
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __call__(self, record: Any) -> dict[str, Any]:
        return {"value": self.fn(record)}


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


def _remembered(source: Any, key: Hashable, last: Survivors | None) -> Survivors | None:
    if last is not None and last.key == key:
        return last
    try:
        known = list(_decided.get(source, ()))
    except TypeError:  # it cannot be a key
        return None
    return next((survivors for survivors in known if survivors.key == key), None)
