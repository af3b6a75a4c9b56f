"""The systems that measure_stages.py compares: each makes endless batches of the same work.

Every loader is a generator function of a ``Work`` and a number of workers that yields dicts of arrays. Ours yields
arrays on the device already, the others arrays in the host's memory. Records, functions and the kind of random
generator are the same; how they are put together is each system's own best form, as found by trying (see its
docstring).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SEED = 1
AHEAD = 2  # batches that a worker may have ready, beside the one that it makes; torch's default


@dataclass(frozen=True)
class Work:
    """What a loader has to do.

    Attributes:
        source: the records.
        stages: what is done to each, one after the other: objects with ``map`` or ``random_map``.
        batch_size: records in a batch.
        shuffle: whether the order is a permutation, or that of the record numbers.
        field: the array of a record that is wanted; a source may give more than peers can stack.
        cycle: after how many batches in order the same cost comes again.
    """

    source: Any
    stages: tuple[Any, ...]
    batch_size: int
    shuffle: bool
    field: str
    cycle: int = 1

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.source)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One record, with all stages applied: what the users of a loader without stages write."""
        record = self.read(number)
        rng = np.random.default_rng((SEED, number)) if self.random else None
        for stage in self.stages:
            record = stage.map(record) if rng is None else stage.random_map(record, rng)
        return record

    @property
    def random(self) -> bool:
        """Whether the stages take a random generator."""
        return any(hasattr(stage, "random_map") for stage in self.stages)

    def read(self, number: int) -> dict[str, Any]:
        """One record as the source has it, and only its array."""
        return {self.field: self.source[int(number)][self.field]}

    def batch(self, numbers: list[int]) -> dict[str, np.ndarray]:
        """The stacked records of these numbers."""
        return {self.field: np.stack([self[number][self.field] for number in numbers])}

    def orders(self, first: int = 0, step: int = 1) -> Iterator[list[int]]:
        """The record numbers of every ``step``-th batch, beginning with batch ``first``, epoch after epoch."""
        rng = np.random.default_rng(SEED)
        while True:
            order = rng.permutation(len(self)) if self.shuffle else np.arange(len(self))
            for start in range(first * self.batch_size, len(self) - self.batch_size + 1, step * self.batch_size):
                yield order[start : start + self.batch_size].tolist()


@dataclass(frozen=True)
class Numbers:
    """Tiny records: ``{"x": 16 float32}``, all equal to the record's number."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return {"x": np.full(16, number, np.float32)}


@dataclass(frozen=True)
class Busy:
    """A stage that holds the GIL until its thread has used so much CPU time.

    Record n takes one of ``CYCLE`` times, evenly spread on a logarithmic scale, in a fixed order that begins anew.

    Attributes:
        least: seconds.
        most: seconds.
    """

    least: float
    most: float

    def map(self, record: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same record, later."""
        end = time.thread_time() + self.seconds(int(record["x"][0]))
        while time.thread_time() < end:
            pass
        return record

    def seconds(self, number: int) -> float:
        """How long a record takes.

        >>> busy = Busy(0.001, 0.1)
        >>> busy.seconds(3) == busy.seconds(CYCLE + 3) != busy.seconds(4)
        True
        """
        return self.least * (self.most / self.least) ** ((_PLACES[number % CYCLE] + 0.5) / CYCLE)


CYCLE = 112  # seven batches of 16: no usual number of workers divides it, so none always gets the same batches
_PLACES: list[int] = np.random.default_rng(0).permutation(CYCLE).tolist()


def single(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """The unit: a plain loop in the main process, without any loader."""
    assert workers == 0
    return map(work.batch, work.orders())


def ours(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """A pipeline; what main does is in it too, so its batches are on the device."""
    from datarax_mp import Pipeline

    with Pipeline(
        source=work.source,
        batch_size=work.batch_size,
        stages=work.stages,
        shuffle=work.shuffle,
        rngs=np.random.default_rng(SEED),
        num_workers=workers,
        drop_last=True,
    ) as pipeline:
        while True:
            for batch in pipeline:
                yield {work.field: batch[work.field]}


def by_torch(work: Work, workers: int, **options: Any) -> Iterator[dict[str, Any]]:
    """DataLoader of torch: fork, persistent workers, its own collation to tensors, which are in shared memory."""
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        work,  # type: ignore[arg-type]  # it has all that a Dataset has
        batch_size=work.batch_size,
        shuffle=work.shuffle,
        num_workers=workers,
        multiprocessing_context="fork",
        persistent_workers=True,
        prefetch_factor=AHEAD,
        drop_last=True,
        **options,
    )
    while True:
        for batch in loader:
            yield {work.field: batch[work.field].numpy()}


def by_grain(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """Grain: a MapDataset, batched in the workers, one reading thread in each."""
    import grain
    from absl import flags

    flags.FLAGS(["grain"])  # it reads some that are its own, and absl.app has not parsed them here
    dataset: Any = grain.MapDataset.source(Reader(work)).seed(SEED)
    if work.shuffle:
        dataset = dataset.shuffle()
    dataset = dataset.repeat()
    for stage in work.stages:
        dataset = dataset.random_map(stage.random_map) if work.random else dataset.map(stage.map)
    dataset = dataset.batch(work.batch_size, drop_remainder=True)
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
    yield from dataset.mp_prefetch(grain.MultiprocessingOptions(workers, per_worker_buffer_size=AHEAD))


@dataclass(frozen=True)
class Reader:
    """A Work's records without its stages, as a Grain data source."""

    work: Work

    def __len__(self) -> int:
        return len(self.work)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.work.read(number)


def by_spdl(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """SPDL: one subprocess per worker, each with every so many-th batch and segments of shared memory of its own."""
    from spdl.pipeline import SharedMemorySegmentPool, iterate_in_subprocess

    size = work.batch_size * work[0][work.field].nbytes + 4096
    parts = [
        iterate_in_subprocess(
            Part(work, worker, workers),
            buffer_size=AHEAD,
            arena=SharedMemorySegmentPool(size, AHEAD + 3),
        )
        for worker in range(workers)
    ]
    for turn in zip(*parts, strict=True):
        yield from turn


@dataclass(frozen=True)
class Part:
    """Makes one worker's share of the batches; SPDL sends it to the subprocess and calls it there."""

    work: Work
    worker: int
    workers: int

    def __call__(self) -> Iterator[dict[str, np.ndarray]]:
        return map(self.work.batch, self.work.orders(self.worker, self.workers))


def by_spdl_pool(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """SPDL with a pool of processes: whichever is free takes the next batch, and they still come in order."""
    from concurrent.futures import ProcessPoolExecutor

    from spdl.pipeline import PipelineBuilder

    with ProcessPoolExecutor(workers) as executor:
        builder: Any = PipelineBuilder().add_source(work.orders())
        builder.pipe(work.batch, executor=executor, concurrency=workers * (AHEAD + 1), output_order="input")
        pipeline = builder.add_sink(AHEAD).build(num_threads=1)
        with pipeline.auto_stop():
            yield from pipeline


Loader = Callable[[Work, int], Iterator[dict[str, Any]]]
