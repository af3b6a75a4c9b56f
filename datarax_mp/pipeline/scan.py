"""One pass over a whole source by worker processes, whose results main keeps.

    source --> workers: fn(record) --> numbers and values, in the source's order

``Filter`` finds out in this way which records are left (``survivors``), and packing how long the documents are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.spec import Layout
from datarax_mp.delivery.base import Delivery
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order import Order
from datarax_mp.order.epoch import Epoch
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.options import Options
from datarax_mp.pipeline.session import Session
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.recipe.recipe import Reading, Recipe
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.sources import as_source
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.stages.map_element import MapElement

Portion: TypeAlias = tuple[NDArray[np.int64], np.ndarray, NDArray[np.int64]]

_RECORDS = 64  # that a worker reads at a time


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
    parts = passes(as_source(source), _Value(fn), Options(num_workers))
    return np.concatenate([values for _, values, _ in parts])


def passes(
    source: Any,
    fn: Callable[[Any], Any],
    options: Options,
    *,
    skip: bool = False,
    reading: Reading = Reading(),  # noqa: B008 - a frozen value
    init: WorkerInit | None = None,
) -> Iterator[Portion]:
    """For each portion of the source: record numbers, the values of those that did not raise, and which those are.

    Args:
        source: the source.
        fn: ``record -> dict`` of one field.
        options: of the pipeline; workers, time limit and restarts are as it says.
        skip: whether a record for which something is raised is passed over.
        reading: how records are read.
        init: what workers run before their first record, or None.
    """
    options = Options(
        options.num_workers,
        workers=options.workers,
        timeout=options.timeout,
        restart_workers=options.restart_workers,
        run_steps=_RECORDS,
    )
    order = Order(SourceFacts.of(source).in_order(len(source)), batch_size=_RECORDS)
    # Padded, so that a portion in which every record raises is delivered too.
    recipe = Recipe(source, (MapElement(fn),), order, x64=None, pad=True, skip=skip, reading=reading, init=init)
    session = Session(recipe, options, _Copies())
    cursor = Cursor(Position(order, 0, 0))
    iterator = PipelineIterator(session, cursor, options.prefetch_size, _no_state, _no_state, None)
    with closing(session), closing(iterator):
        iterator.begin()
        yield from iterator


class _Copies(Delivery):
    """The delivery of a scan: records' numbers and copies of what was found for them."""

    hand_over = None

    def check(self, layout: Layout, order: Order) -> None:
        """There is nothing to check."""

    def open(self, layout: Layout, epoch: Epoch, steps: int) -> _Copies:
        """It is the same in every epoch."""
        return self

    def take(self, batch: HostBatch) -> Portion:
        """Copy them, so that the slot is free."""
        numbers = batch.epoch.records(batch.step)
        there = np.delete(np.arange(len(numbers)), [skip.row for skip in batch.skips])
        return numbers, batch.arrays()[0][: len(there)].copy(), there


def _no_state(*_: Any) -> Any:
    raise AssertionError("a scan has no state")


class _Value:
    """A stage that makes a field of what a function returns."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = fn
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __call__(self, record: Any) -> dict[str, Any]:
        return {"value": self.fn(record)}
