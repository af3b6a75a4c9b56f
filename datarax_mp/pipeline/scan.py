"""One pass over a whole source by worker processes, whose results main keeps.

    source --> workers: fn(record) --> numbers and values, in the source's order

``Filter`` finds out in this way which records are left (``survivors``), and packing how long the documents are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import Order, Sequential
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.options import Options
from datarax_mp.pipeline.session import Session, Work
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.recipe.recipe import Reading, Recipe
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.sources import as_source
from datarax_mp.stages.map_element import MapElement

if TYPE_CHECKING:
    from datarax_mp.feed.host_batch import HostBatch

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
) -> Iterator[tuple[NDArray[np.int64], np.ndarray, NDArray[np.int64]]]:
    """For each portion of the source: record numbers, the values of those that did not raise, and which those are.

    Args:
        source: the source.
        fn: ``record -> dict`` of one field.
        options: of the pipeline; workers, time limit and restarts are as it says.
        skip: whether a record for which something is raised is passed over.
        reading: how records are read.
        init: what workers run before their first record, or None.
    """

    def deliver(batch: HostBatch, work: Work, _: int) -> Any:
        numbers = work.order.records(0, batch.step)
        there = np.delete(np.arange(len(numbers)), [skip.row for skip in batch.skips])
        return numbers, batch.arrays()[0][: len(there)].copy(), there

    options = Options(
        options.num_workers,
        output="numpy",
        timeout=options.timeout,
        restart_workers=options.restart_workers,
        run_steps=_RECORDS,
    )
    order = Order(Sequential(len(source)), batch_size=_RECORDS)
    # Padded, so that a portion in which every record raises is delivered too.
    recipe = Recipe(source, (MapElement(fn),), order, x64=None, pad=True, skip=skip, reading=reading, init=init)
    session = Session(recipe, options, deliver)
    cursor = Cursor(Position(order, 0, 0))
    iterator = PipelineIterator(session, cursor, options.prefetch_size, _no_state, _no_state, lambda *_: None)
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
