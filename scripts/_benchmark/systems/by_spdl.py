"""SPDL: one ``iterate_in_subprocess`` per worker, which take turns, each with every so many-th batch.

Large arrays reach the main process through the arena: a ring, out of which SPDL copies, or a pool of segments, into
which the arrays look. Without one they are pickled into the queue. Subprocesses are forked (its default on Linux).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, Literal

from _benchmark.sources import Arrays
from _benchmark.workloads import Work

AHEAD = 2  # finished batches that wait for each worker, as many as torch's
HEADROOM = 4096  # alignment and headers


class Subprocesses:
    """The subprocesses stay from epoch to epoch."""

    def __init__(self, work: Work, workers: int, arena: Literal["ring", "pool"] | None) -> None:
        from spdl.pipeline import SharedMemoryRingBuffer, SharedMemorySegmentPool, iterate_in_subprocess

        size = work.most_bytes + HEADROOM
        self.parts: list[Any] = []
        for worker in range(workers):
            memory: Any = None
            if arena == "ring":
                memory = SharedMemoryRingBuffer((AHEAD + 2) * size)  # what its documentation says
            elif arena == "pool":
                memory = SharedMemorySegmentPool(size, AHEAD + 3)
            part = Part(work, worker, workers)
            self.parts.append(iterate_in_subprocess(lambda part=part: part, buffer_size=AHEAD, arena=memory))

    def __iter__(self) -> Iterator[Arrays]:
        turns = [iter(part) for part in self.parts]
        while turns:
            for turn in list(turns):
                try:
                    batch = next(turn)
                except StopIteration:
                    turns.remove(turn)
                    continue
                yield batch
                del batch  # or its segment would be kept while the next one is waited for

    def close(self) -> None:
        """End the subprocesses: their iterables' finalizers do."""
        self.parts.clear()


class Part:
    """One worker's share of the batches; every iteration, in the subprocess, is the next epoch."""

    def __init__(self, work: Work, worker: int, workers: int) -> None:
        self.work = work
        self.epochs = work.epochs(worker, workers)

    def __iter__(self) -> Iterator[Arrays]:
        return map(self.work.batch, next(self.epochs))


class Pool:
    """A pool of processes, or threads: whichever is free takes the next batch, and they still come in order."""

    def __init__(self, work: Work, workers: int, kind: Callable[[int], Executor] = ProcessPoolExecutor) -> None:
        self.work, self.workers = work, workers
        self.epochs = work.epochs()
        self.executor = kind(workers)

    def __iter__(self) -> Iterator[Arrays]:
        from spdl.pipeline import PipelineBuilder

        builder: Any = PipelineBuilder().add_source(next(self.epochs))
        concurrency = self.workers * (AHEAD + 1)
        builder.pipe(self.work.batch, executor=self.executor, concurrency=concurrency, output_order="input")
        pipeline = builder.add_sink(AHEAD).build(num_threads=1)
        with pipeline.auto_stop():
            yield from pipeline

    def close(self) -> None:
        """End them."""
        self.executor.shutdown(cancel_futures=True)
