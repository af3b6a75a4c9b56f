"""What it costs to resume in the middle of an epoch: as much as to start one, wherever it is.

    python scripts/measure_resume.py
    python scripts/measure_resume.py --workers 8 --rounds 100 --output numpy

The source has 10^8 records that exist only as a function, and is shuffled. Each measurement makes a new pipeline, as a
program does that has been restarted, over workers that an earlier one has left warm; the time runs from ``set_state``,
for step k of the epoch, to the first batch. *elastic* takes a state of batches of 50 records to batches of 64. *start*
is the same without ``set_state``. The rows take turns, in another order in every round.

How to read it: a position is arithmetic, so no row differs from another by more than the noise, which is what a message
to a worker and the wait for a core take: smallest values are alike, too.

Figures: ``results/measure_resume-2026-11-24.txt``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import Any

import numpy as np
from _benchmark.table import conditions

from datarax_mp import Pipeline

RECORDS = 10**8
ROWS = {
    "start": None,
    "k = 0": (0, 64),
    "k = 1 000": (10**3, 64),
    "k = 1 000 000": (10**6, 64),
    "elastic, k = 1 000": (10**3, 50),
    "elastic, k = 1 000 000": (10**6, 50),
}


class Squares:
    """Records that are made when they are asked for."""

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"number": np.int32(number), "root": np.float32(number) ** 0.5}


def make(workers: int, output: Any) -> Pipeline:
    """A new pipeline over the same records in the same order."""
    rngs = np.random.default_rng(0)
    return Pipeline(source=Squares(), batch_size=64, shuffle=True, rngs=rngs, num_workers=workers, output=output)


def milliseconds(workers: int, output: Any, where: tuple[int, int] | None) -> float:
    """From ``set_state`` to the first batch; ``where`` is a step and the batch size of the run that had come to it."""
    with make(workers, output) as pipeline:
        state = pipeline.get_state()
        if where is not None:
            step, batch_size = where
            state = {**state, "step": step, "fingerprint": {**state["fingerprint"], "batch_size": batch_size}}
        began = time.perf_counter()
        if where is not None:
            pipeline.set_state(state, elastic=True)
        batch = next(iter(pipeline))
        took = 1e3 * (time.perf_counter() - began)
        assert batch["number"].shape == (64,)
    return took


def main() -> None:
    """Take turns and print a table."""
    parser = argparse.ArgumentParser(description="What it costs to resume in the middle of an epoch.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--output", choices=["jax", "numpy"], default="jax")
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in ROWS}
    for name in ROWS:  # workers, imports, compilation
        milliseconds(arguments.workers, arguments.output, ROWS[name])
    turns = random.Random(0)
    for _ in range(arguments.rounds):
        for name in turns.sample(list(ROWS), len(ROWS)):
            figures[name].append(milliseconds(arguments.workers, arguments.output, ROWS[name]))
    print(f"{arguments.workers} workers, output {arguments.output}, {conditions('jax', 'numpy')}")
    print(f"{RECORDS} records, shuffled; milliseconds to the first batch, median of {arguments.rounds} (from..to)\n")
    start = statistics.median(figures["start"])
    for name, values in figures.items():
        spread = f"{statistics.median(values):.1f} ({min(values):.1f}..{max(values):.1f})"
        print(f"{name:>24} {spread}   {statistics.median(values) / start:5.2f} times a start")


if __name__ == "__main__":
    main()
