"""How soon the first batch is there: with cold workers, and with warm ones of an earlier pipeline.

    python scripts/measure_start.py
    python scripts/measure_start.py --workers 8 --rounds 15 --output numpy

*Cold* is a fresh interpreter that has imported JAX and this package and run something on the device: from
``Pipeline(...)`` to the first batch of a MemorySource. *Warm* is another Pipeline over another MemorySource in the same
interpreter afterwards: from ``iter(pipeline)`` to its first batch. For comparison, *bare* starts as many processes of
``multiprocessing`` (spawn) that import NumPy and answer once, the least that a loader with spawned workers must do.

8 workers, 2 cores, CPU backend, jax 0.10.2, Python 3.11.7, 2026-11-24; milliseconds, medians of 5 interpreters (the
worst of five warm ones is the first, which moves the source's 31 MB to shared memory):

    cold  205      warm  18.1      warm, worst of 5  41      bare  554
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np


def source(rows: int) -> Any:
    """A MemorySource of small images."""
    from datarax_mp import MemorySource, MemorySourceConfig

    data = {"image": np.zeros((rows, 32, 32, 3), np.uint8), "label": np.arange(rows)}
    return MemorySource(MemorySourceConfig(), data)


def once(workers: int, output: Any) -> dict[str, float]:
    """One interpreter's figures, in milliseconds."""
    from datarax_mp import Batch, Pipeline

    assert Batch is not None
    if output == "jax":
        import jax.numpy as jnp

        jnp.zeros(1).block_until_ready()
    options: dict[str, Any] = {"batch_size": 256, "num_workers": workers, "output": output}
    cold_source, warm_source = source(10_000), source(10_000)
    began = time.perf_counter()
    cold = Pipeline(source=cold_source, **options)
    iterator = iter(cold)
    next(iterator)
    cold_ms = 1e3 * (time.perf_counter() - began)
    for _ in iterator:
        pass
    cold.close()
    warm_ms = []
    for _ in range(5):
        warm = Pipeline(source=warm_source, **options)
        began = time.perf_counter()
        iterator = iter(warm)
        next(iterator)
        warm_ms.append(1e3 * (time.perf_counter() - began))
        for _ in iterator:
            pass
    return {"cold": cold_ms, "warm": statistics.median(warm_ms), "warm, worst of 5": max(warm_ms)}


def answer(connection: Any) -> None:
    """What a bare worker does."""
    connection.send(len(np.zeros(3)))


def bare(workers: int) -> float:
    """Milliseconds until so many spawned processes have answered."""
    context = multiprocessing.get_context("spawn")
    began = time.perf_counter()
    pipes = [context.Pipe() for _ in range(workers)]
    processes = [context.Process(target=answer, args=(theirs,)) for _, theirs in pipes]
    for process in processes:
        process.start()
    for ours, _ in pipes:
        ours.recv()
    took = 1e3 * (time.perf_counter() - began)
    for process in processes:
        process.join()
    return took


def main() -> None:
    """Alternate the measurements in fresh interpreters and print medians."""
    parser = argparse.ArgumentParser(description="How soon the first batch is there.")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", choices=["jax", "numpy"], default="jax")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(once(arguments.workers, arguments.output)))
        return
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        command = [sys.executable, __file__, "--once", "--workers", str(arguments.workers)]
        done = subprocess.run([*command, "--output", arguments.output], capture_output=True, text=True, check=True)
        rounds.append({**json.loads(done.stdout), "bare": bare(arguments.workers)})
        print(f"round {number + 1}:", {name: round(value, 1) for name, value in rounds[-1].items()}, file=sys.stderr)
    print(
        f"{arguments.workers} workers, output {arguments.output}, {len(os.sched_getaffinity(0))} cores; ms to a batch"
    )
    for name in rounds[0]:
        values = sorted(figures[name] for figures in rounds)
        print(f"{name:>18}: median {statistics.median(values):7.1f}   from {values[0]:7.1f} to {values[-1]:7.1f}")


if __name__ == "__main__":
    main()
