"""Grain: a MapDataset, batched in the workers, sent through ``mp_prefetch``; one reading thread, one batch read ahead.

The default of 16 threads and 500 elements makes the workers' threads wait for each other's GIL, and holds as many
batches in memory where the batch comes before it. ``DataLoader`` and batching after reading cost more CPU time. The
data set repeats itself (unless its end is wanted), so that Grain does not start its processes anew every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from _benchmark.sources import SEED, Arrays, Record
from _benchmark.workloads import Work

AHEAD = 2  # finished batches that wait for each worker, as many as torch's


class GrainLoader:
    """An IterDataset, and the iterator in use."""

    def __init__(self, work: Work, dataset: Any, workers: int) -> None:
        import grain

        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        multiprocessing = grain.MultiprocessingOptions(workers, per_worker_buffer_size=AHEAD)
        self.dataset = dataset.to_iter_dataset(options).mp_prefetch(multiprocessing)
        self.iterator: Any = None

    def __iter__(self) -> Iterator[Arrays]:
        self.close()
        self.iterator = iter(self.dataset)
        return self.iterator

    def close(self) -> None:
        """End the workers, which the iterator holds."""
        if hasattr(self.iterator, "close"):
            self.iterator.close()
        self.iterator = None


def records(work: Work, workers: int) -> GrainLoader:
    """Record by record, with its own stacking; ragged records by a ``batch_fn`` that pads."""
    dataset = _ordered(work, _grain().MapDataset.source(Reader(work)))
    for stage in work.load.stages:
        dataset = dataset.map(stage)
    batch_fn = work.stack if work.load.pad is not None else None
    return GrainLoader(work, dataset.batch(work.load.batch_size, drop_remainder=True, batch_fn=batch_fn), workers)


def batched(work: Work, workers: int) -> GrainLoader:
    """Batches of record numbers, each mapped to the batch's rows in one call."""
    dataset = _ordered(work, _grain().MapDataset.range(len(work)))
    return GrainLoader(work, dataset.batch(work.load.batch_size, drop_remainder=True).map(Fetch(work)), workers)


@dataclass(frozen=True)
class Reader:
    """A Work's records without its stages, as a Grain data source."""

    work: Work

    def __len__(self) -> int:
        return len(self.work)

    def __getitem__(self, number: int) -> Record:
        return self.work.source[int(number)]


@dataclass(frozen=True)
class Fetch:
    """Numbers to rows."""

    work: Work

    def __call__(self, numbers: Sequence[int]) -> Arrays:
        return self.work.batch(np.asarray(numbers))


def _grain() -> Any:
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["grain"])  # it reads some that are its own, and absl.app has not parsed them here
    return grain


def _ordered(work: Work, dataset: Any) -> Any:
    dataset = dataset.seed(SEED)
    if work.load.shuffle:
        dataset = dataset.shuffle()
    return dataset if work.short else dataset.repeat()
