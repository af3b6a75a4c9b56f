"""What the machine can do without any loader, measured in the same round as the loaders.

Work in memory: as many processes as there are cores, each gathering batches for itself. Columns are taken into one
buffer that is in use already, ``np.take(out=)``, and into several in turn, as a loader has to; windows and ragged
records are made by the same function that the loaders call. Work that computes: one process's rate of that function,
times the cores.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import numpy as np

from _benchmark.sources import SEED, Columns
from _benchmark.workloads import Work

TAKING_TURNS = 4  # buffers: two of a worker's, one of the caller's, one on its way; a single one stays in the cache
START_SECONDS = 60.0  # only reached when a process has died


def limit(work: Work, seconds: float) -> dict[str, Any]:
    """Batches and bytes per second, and how they were measured."""
    cores = len(os.sched_getaffinity(0))
    if work.load.compute:
        rate, size = measure(work, 0, seconds)
        return {
            "batches_per_s": rate * cores,
            "bytes_per_s": size * cores,
            "how": f"one process, no loader, x {cores} cores",
        }
    if not isinstance(work.source, Columns):
        return {**_in_parallel(work, seconds, 1), "how": f"the same function, no loader, {cores} processes"}
    return {
        **_in_parallel(work, seconds, 1),
        "how": f"np.take into a warm buffer, {cores} processes",
        "in_turns": {
            **_in_parallel(work, seconds, TAKING_TURNS),
            "how": f"np.take, {TAKING_TURNS} warm buffers in turn, {cores} processes",
        },
    }


def _in_parallel(work: Work, seconds: float, buffers: int) -> dict[str, float]:
    """Batches and bytes per second of as many processes as there are cores."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")  # the data is there once, and this process has no threads
    barrier, results = context.Barrier(cores), context.SimpleQueue()

    def run(number: int) -> None:
        barrier.wait(START_SECONDS)
        results.put(measure(work, number, seconds, buffers))

    workers = [context.Process(target=run, args=(number,)) for number in range(cores)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    rate, size = (sum(values) for values in zip(*found, strict=True))
    return {"batches_per_s": rate, "bytes_per_s": size}


def measure(work: Work, number: int, seconds: float, buffers: int = 1) -> tuple[float, float]:
    """One process's batches and bytes per second; each has an order of its own, or they would share their cache."""
    outs: list[dict[str, np.ndarray]] = []
    epochs = work.epochs(seed=SEED + number)
    numbers = next(epochs)
    columns = work.source.columns if isinstance(work.source, Columns) else None
    if columns is not None:
        outs = [
            {name: column[: work.load.batch_size].copy() for name, column in columns.items()} for _ in range(buffers)
        ]
    count, size, least = 0, 0, 2 * work.load.cycle
    warm = work.load.cycle
    now = began = time.perf_counter()
    while now - began < seconds or count < least or count % work.load.cycle:
        index = next(numbers, None)
        if index is None:
            numbers = next(epochs)
            continue
        if columns is None:
            out = work.batch(index)
        else:
            out = outs[count % buffers]
            for name, column in columns.items():
                np.take(column, index, axis=0, out=out[name], mode="clip")
        now = time.perf_counter()
        count, size = count + 1, size + sum(array.nbytes for array in out.values())
        if warm and count == warm:
            count, size, warm, began = 0, 0, 0, now
    return count / (now - began), size / (now - began)
