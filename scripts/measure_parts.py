"""Where the time of one batch goes: in a worker, part by part, and in main for every number of workers.

    python scripts/measure_parts.py
    python scripts/measure_parts.py --only worker --rounds 50
    python scripts/measure_parts.py --only main --workers 2 16 64

*worker* does the runs of a worker in this process and times each part by itself: the order (which records), the views
of the slot, the gather alone (``np.take`` of the columns into the slot, which no loader can do without; other rows each
time, for the same ones would be in the cache), what ``Executor.perform`` takes beside these (board, bookkeeping), and
the messages of a run through a real channel: asking and answering, with pickling and system calls. *Cold* is what a run
takes more where slots take turns, as in a ring.

*main* is CPU time of the thread that iterates, per batch, and steps per run; workers more than cores make the batches
come later and so the runs shorter, which says nothing of a machine that has as many cores.

How to read it: microseconds a batch, the median of all rounds; thread CPU time, so that others on the machine hardly
count, but for the caches that they share.

Figures: ``results/measure_parts-2026-11-27.txt``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _benchmark.here import microseconds, raise_it

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.core.descriptors import connection
from datarax_mp.crews.processes.protocol import Channel
from datarax_mp.feed.ring_plan import plan_ring
from datarax_mp.order import Order, Shuffled
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Done, Run
from datarax_mp.ring import Ring

SEED = 1


def cases() -> dict[str, tuple[dict[str, np.ndarray], int]]:
    """Columns and batch size by name, as in ``benchmark.py``."""
    images, rows = 256 * 400, 128 * 1024
    pixels = np.random.default_rng(SEED).integers(0, 255, (images, 32, 32, 3), np.uint8)
    return {
        "small images": ({"image": pixels, "label": np.arange(images, dtype=np.int32)}, 256),
        "table rows": ({"x": np.zeros((rows, 16), np.float32), "label": np.arange(rows, dtype=np.int32)}, 128),
    }


def message_times(run: Run, done: Done, rounds: int) -> float:
    """What a question and its answer cost the worker's end, in microseconds."""
    ours, theirs = connection()
    main, worker = Channel(ours), Channel(theirs)
    times = []
    for number in range(1, rounds + 2):
        main.send(number, run)
        began = time.thread_time()
        worker.receive()
        worker.send(number, done)
        times.append(time.thread_time() - began)
        main.take()
    main.close()
    worker.close()
    return statistics.median(times[1:]) * 1e6


def worker_parts(columns: dict[str, np.ndarray], batch_size: int, rounds: int) -> Iterator[tuple[str, float]]:
    """Each part's microseconds for a batch."""
    length = len(columns["label"])
    order = Order(Shuffled(length), batch_size, seed=SEED)
    source = MemorySource(MemorySourceConfig(), columns)
    executor = Executor(Recipe(source, (), order, x64=False, pad=False))
    layouts = executor.probe(0)
    executor.settle(layouts)
    layout = layouts.delivered
    plan = plan_ring(layout.block_bytes, workers=2, prefetch_size=2, run_steps=None, budget=None, strict=False)
    steps, ring = plan.steps, Ring(plan.slots, plan.steps * layout.block_bytes, shared=True)
    turns = iter(range(1 << 60))

    def run(slot: int) -> Run:
        return Run(0, next(turns) * steps % (length // batch_size - steps), steps, slot)

    def perform(slot: int) -> Done:
        done = executor.perform(run(slot), ring.memory, ring.slot_bytes, raise_it)
        assert isinstance(done, Done)
        return done

    whole_runs = length // (steps * batch_size)
    permuted = np.random.default_rng(SEED).permutation(length)[: whole_runs * steps * batch_size]
    numbers = permuted.reshape(whole_runs, steps, batch_size)
    views = [
        dict(zip(columns, layout.rows(ring.memory, place * layout.block_bytes, batch_size), strict=True))
        for place in range(steps)
    ]

    def gather() -> None:
        for rows, targets in zip(numbers[next(turns) % whole_runs], views, strict=True):
            for name, column in columns.items():
                np.take(column, rows, axis=0, out=targets[name], mode="clip")

    def each(parts: Callable[[], object]) -> float:
        return microseconds(parts, rounds) / steps

    for slot in range(plan.slots):  # its pages are there
        perform(slot)
    ordered = each(lambda: order.by_step(0, next(turns) * steps % (length // batch_size - steps), steps))
    gathered, whole = each(gather), each(lambda: perform(0))
    yield "order", ordered
    yield "gather alone, into one slot", gathered
    yield "board and bookkeeping", whole - ordered - gathered
    yield "cold slots: nine in turn", each(lambda: perform(next(turns) % plan.slots)) - whole
    yield f"message and answer, a run of {steps}", message_times(run(0), perform(0), rounds) / steps
    yield "a view of the slot, once for each place", each(lambda: layout.rows(ring.memory, 0, batch_size)) * steps
    ring.close()


def main_times(workers: int, output: str, rounds: int, batches: int) -> float:
    """Microseconds of the iterating thread's CPU for a batch of rows."""
    columns, batch_size = cases()["table rows"]
    source = MemorySource(MemorySourceConfig(), columns)
    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": workers, "output": output, "num_epochs": None}
    with Pipeline(source=source, **options) as pipeline:
        batch, times = None, []
        iterator = iter(pipeline)
        for _ in range(rounds + 1):
            began = time.thread_time()
            for _ in range(batches):
                batch = next(iterator)
            times.append((time.thread_time() - began) / batches)
        del batch
        iterator.close()
    return statistics.median(times[1:]) * 1e6


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="Where the time of one batch goes.")
    add = parser.add_argument
    add("--only", choices=["worker", "main"], help="one of the two (both)")
    add("--workers", type=int, nargs="+", default=[2, 16, 32, 64], help="numbers of workers for main (2 16 32 64)")
    add("--outputs", nargs="+", default=["numpy", "jax"], help="what main delivers (numpy jax)")
    add("--rounds", type=int, default=30, help="measurements to take the median of (30)")
    add("--batches", type=int, default=8192, help="batches in one of main's (8192)")
    options = parser.parse_args()
    if options.only != "main":
        for name, (columns, batch_size) in cases().items():
            for part, spent in worker_parts(columns, batch_size, options.rounds):
                print(f"worker  {name:14}{part:48}{spent:9.1f}")
    if options.only != "worker":
        for output in options.outputs:
            for workers in options.workers:
                spent = main_times(workers, output, options.rounds, options.batches)
                print(f"main    {output:14}{workers:3} workers{'':37}{spent:10.2f}", flush=True)


if __name__ == "__main__":
    main()
