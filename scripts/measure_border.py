"""What a training loop waits for at an epoch's begin, beside its other waits: epochs one by one, and as one stream.

    python scripts/measure_border.py
    python scripts/measure_border.py --workers 4 --step-ms 20 --work-ms 5 --epochs 20

A step takes ``--step-ms`` (the host sleeps), and a worker ``--work-ms`` of sleep for a record, of which
``--batch-size`` make a batch; there are ten batches in an epoch. Both ways take turns, epoch group by epoch group. With
``num_epochs=`` the workers are at the next epoch while the last batches of this one are waited for.

How to read it: milliseconds that ``next`` (and ``iter``) took, medians: for the first batch of an epoch but the very
first, and for all others.

Figures: ``results/measure_border-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

from datarax_mp import Pipeline

STEPS = 10


def waits(pipeline: Pipeline[Any], epochs: int, step_seconds: float) -> tuple[list[float], list[float]]:
    """Seconds waited for the first batch of each epoch but the first, and for the other batches."""
    first, others, iterator = list[float](), list[float](), None
    for step in range(epochs * STEPS):
        began = time.perf_counter()
        batch = None if iterator is None else next(iterator, None)
        if batch is None:
            iterator = iter(pipeline)
            batch = next(iterator)
        waited = time.perf_counter() - began
        if step:
            (others if step % STEPS else first).append(waited)
        time.sleep(step_seconds)
    return first, others


def main() -> None:
    """Measure both ways and print them."""
    parser = argparse.ArgumentParser(description="Waits at the begin of an epoch.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--step-ms", type=float, default=60)
    parser.add_argument("--work-ms", type=float, default=10, help="of a worker, for a record")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5, help="in a group")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    seconds = options.work_ms / 1e3

    def work(record: Any) -> Any:
        time.sleep(seconds)
        return record

    found: dict[str, tuple[list[float], list[float]]] = {"one by one": ([], []), "one stream": ([], [])}
    for _ in range(options.rounds):
        for way, num_epochs in (("one by one", 1), ("one stream", options.epochs)):
            with Pipeline(
                source=np.arange(STEPS * options.batch_size),
                batch_size=options.batch_size,
                stages=[work],
                num_workers=options.workers,
                num_epochs=num_epochs,
                output="numpy",
            ) as pipeline:
                for all_waits, new in zip(
                    found[way], waits(pipeline, options.epochs, options.step_ms / 1e3), strict=True
                ):
                    all_waits += new
    print(f"{'epochs':12} {'first batch, ms':>16} {'others, ms':>12}")
    for way, (first, others) in found.items():
        print(f"{way:12} {1e3 * statistics.median(first):16.2f} {1e3 * statistics.median(others):12.2f}")


if __name__ == "__main__":
    main()
