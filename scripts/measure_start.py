"""How soon the first batch is there: with cold workers, and with warm ones of an earlier pipeline.

    python scripts/measure_start.py
    python scripts/measure_start.py --workers 8 --rounds 15 --output numpy
    python scripts/measure_start.py --source torch
    python scripts/measure_start.py --source epochs --workers 2 --output numpy

*Cold* is a fresh interpreter that has imported JAX and this package and run something on the device: from
``Pipeline(...)`` to the first batch of a MemorySource. *Warm* is another Pipeline over another MemorySource in the same
interpreter afterwards: from ``iter(pipeline)`` to its first batch. For comparison, *bare* starts as many processes of
``multiprocessing`` (spawn) that import NumPy and answer once, the least that a loader with spawned workers must do.

With ``--source torch`` the source is a ``torch.utils.data.Dataset`` and torch's own DataLoader does the same in an
interpreter of its own. Both have imported torch in main before the clock starts. DataLoader forks its workers of main,
which has it; this package does not fork main (JAX's threads), so that *cold* holds one more import of torch, by the
process that the workers are forked of: compare with *torch, cold* plus *import torch*. *warm* is a new pipeline; for
the DataLoader the next epoch. USS and PSS are sums over all processes but main, in MB, while batches are made.

With ``--source epochs`` a pipeline is iterated again and again, and the time is from ``iter`` to the first batch of an
epoch but the first: what it takes to find out that nothing has changed, and to set warm workers to work.

Figures: ``results/measure_start-2026-11-26.txt``.
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
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from datarax_mp.monitoring.memory import tree_memory


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


def torch_source(rows: int) -> Any:
    """A torch Dataset of small images."""
    import torch

    class Images(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return rows

        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"image": torch.full((32, 32, 3), number % 256, dtype=torch.uint8).numpy(), "label": number}

    return Images()


def first_batches(loader: Callable[[], Any], times: int) -> tuple[list[float], dict[str, float]]:
    """Milliseconds to the first batch of each of ``times`` epochs, and the memory of all processes but this one."""
    took: list[float] = []
    memory: dict[str, float] = {}
    for _ in range(times):
        began = time.perf_counter()
        iterator = iter(loader())
        next(iterator)
        took.append(1e3 * (time.perf_counter() - began))
        if not memory:
            next(iterator)
            tree = [process for process in tree_memory().processes if process.role != "main"]
            memory["USS"] = sum(process.uss for process in tree) / 1e6
            memory["PSS"] = sum(process.pss for process in tree) / 1e6
        for _ in iterator:
            pass
    return took, memory


def once_torch(workers: int, output: Any) -> dict[str, float]:
    """One interpreter's figures with a source that needs torch."""
    began = time.perf_counter()
    import torch  # noqa: F401

    imported = 1e3 * (time.perf_counter() - began)
    from datarax_mp import Batch, Pipeline

    assert Batch is not None  # which imports JAX and Flax
    data = torch_source(10_000)
    options: dict[str, Any] = {"batch_size": 256, "num_workers": workers, "output": output}
    took, memory = first_batches(lambda: Pipeline(source=data, **options), 6)
    return {"import torch": imported, "cold": took[0], "warm": statistics.median(took[1:]), **memory}


def once_dataloader(workers: int, output: Any) -> dict[str, float]:
    """The same of torch's own loader; ``output`` means nothing to it."""
    import torch

    loader = torch.utils.data.DataLoader(torch_source(10_000), batch_size=256, num_workers=workers)
    warnings.simplefilter("ignore")  # that there are more workers than cores
    took, memory = first_batches(lambda: loader, 6)
    figures = {"cold": took[0], "warm": statistics.median(took[1:]), **memory}
    return {f"torch, {name}": value for name, value in figures.items()}


class Files:
    """A data set as people write them: a list of names and labels, and a function."""

    def __init__(self, count: int) -> None:
        self.items = [(f"train/{number % 1000}/{number}.jpg", number % 1000) for number in range(count)]
        self.transform = lambda label: np.full(8, label, np.float32)

    def __len__(self) -> int:
        return 2_000

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": self.transform(self.items[number][1])}


def once_epochs(workers: int, output: Any) -> dict[str, float]:
    """How long later epochs take to begin, by what there is that may have changed."""
    from datarax_mp import Pipeline

    columns = {"x": np.zeros((2_000, 8), np.float32)}
    cases: dict[str, tuple[Any, list[Callable[[Any], Any]]]] = {
        "columns": (columns, []),
        "and a function": (columns, [lambda record: {"x": record["x"] * 2}]),
        "2,000 files": (Files(2_000), []),
        "1,000,000 files": (Files(1_000_000), []),
    }
    figures = {}
    for name, (data, stages) in cases.items():
        with Pipeline(source=data, batch_size=32, num_workers=workers, output=output, stages=stages) as pipeline:
            took, _ = first_batches(lambda pipeline=pipeline: pipeline, 40)  # type: ignore[misc]
            figures[name] = statistics.median(took[5:])
    return figures


MEASURES = {"epochs": once_epochs, "memory": once, "torch": once_torch, "dataloader": once_dataloader}


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
    parser.add_argument("--source", choices=list(MEASURES), default="memory")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(MEASURES[arguments.source](arguments.workers, arguments.output)))
        return
    rounds: list[dict[str, float]] = []
    for number in range(arguments.rounds):
        rounds.append({})
        for source in [arguments.source] if arguments.source != "torch" else ["torch", "dataloader"]:
            command = [sys.executable, __file__, "--once", "--workers", str(arguments.workers)]
            command += ["--output", arguments.output, "--source", source]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds[-1] |= json.loads(done.stdout)
        if arguments.source == "memory":
            rounds[-1]["bare"] = bare(arguments.workers)
        print(f"round {number + 1}:", {name: round(value, 1) for name, value in rounds[-1].items()}, file=sys.stderr)
    cores = len(os.sched_getaffinity(0))
    print(f"{arguments.workers} workers, output {arguments.output}, {cores} cores; ms to a batch, and MB")
    for name in rounds[0]:
        values = sorted(figures[name] for figures in rounds)
        print(f"{name:>18}: median {statistics.median(values):7.1f}   from {values[0]:7.1f} to {values[-1]:7.1f}")


if __name__ == "__main__":
    main()
