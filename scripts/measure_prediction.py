"""Whether ``Pipeline.report`` predicts well: what one worker's run says of two and four, and what these then do.

    python scripts/measure_prediction.py
    python scripts/measure_prediction.py --step-ms 10 --work-ms 8 --batches 200

A step takes the host ``--step-ms`` (it sleeps), and a worker needs ``--work-ms`` for a batch: *waiting* sleeps, as for
a disk or a network; *computing* holds a core. From a run with one worker the utilisation (the share of time in which
the host does not wait) is predicted for each number of workers; then it is measured.

How to read it: "off" is measured less predicted, in points. Sleeping work is predicted within a few points. Work that
computes is predicted as if there were a core for each worker and one for the host, which the last column shows.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from datarax_mp import Pipeline
from datarax_mp.core.cores import usable_cores


def utilisation(kind: str, workers: int, options: argparse.Namespace) -> Any:
    """The statistics of a run."""
    seconds = options.work_ms / 1e3 / options.batch_size

    def wait(record: Any) -> Any:
        time.sleep(seconds)
        return record

    def compute(record: Any) -> Any:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        return record

    with Pipeline(
        source=np.arange(options.batches * options.batch_size),
        batch_size=options.batch_size,
        stages=[wait if kind == "waiting" else compute],
        num_workers=workers,
        output="numpy",
    ) as pipeline:
        for _ in pipeline:
            time.sleep(options.step_ms / 1e3)
        return pipeline.stats()


def main() -> None:
    """Predict, measure, print."""
    parser = argparse.ArgumentParser(description="Whether the report predicts well.")
    parser.add_argument("--step-ms", type=float, default=5)
    parser.add_argument("--work-ms", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=150)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    print(f"{usable_cores()} cores; a step {options.step_ms:g} ms, a batch {options.work_ms:g} ms of a worker")
    print(f"{'work':12}{'workers':>8}{'predicted':>11}{'measured':>10}{'off':>6}  cores for all")
    for kind in ("waiting", "computing"):
        from_one = utilisation(kind, 1, options)
        for workers in options.workers:
            predicted = from_one.predicted(workers)
            measured = utilisation(kind, workers, options).utilisation
            enough = kind == "waiting" or workers < usable_cores()
            print(
                f"{kind:12}{workers:8}{predicted:11.0%}{measured:10.0%}{100 * (measured - predicted):+6.0f}  "
                f"{'yes' if enough else 'no'}"
            )


if __name__ == "__main__":
    main()
