"""Batches per second of three workloads, beside NumPy in the main process.

    large images   64 x 224x224x3 uint8, 9.6 MB a batch
    small images   256 x 32x32x3 uint8, 0.8 MB a batch
    table rows     128 x (16 float32 + label), 9 kB a batch

All are shuffled and in memory. "NumPy in main" is ``array[idx]`` with a shuffled index and ``jax.device_put``, what one
writes without any loader; "warm copy" is ``np.take`` into memory in use already, one core's limit, with nothing around
it. Every batch's arrays are waited for (``block_until_ready``), and only the current batch is kept.

    python scripts/measure_workloads.py                      # all, some 7 minutes
    python scripts/measure_workloads.py --workloads table --rounds 1 --seconds 1

How to read it: every system runs in a process of its own; the systems take turns, round by round. Shown are the median
of the rounds with the smallest and the largest, and the ratio to NumPy in main of the same round (again the median).
p50 and p99 are the caller's waits in ``next()``, of all rounds together. Epochs begin and end while it measures: an
epoch is 62 batches of large images, 400 of small ones, 2000 of table rows.

When a loader is *not* worth using: where "NumPy in main" keeps up with the training step. Here no step computes
anything, so workers compete with main for two cores; what workers are for is work in stages, which these have none of.

2 cores, CPU backend, jax 0.10.2, flax 0.12.8, numpy 2.4.6, Python 3.11.7, 2026-11-24, one round of 3 s, load 0.9. The
virtual machine was throttled: one core's warm copy reached 0.85 GB/s, where 8.8 to 12.9 had been measured on such
a machine before, and stalls of 0.1 s show in every p99. Ratios are worth something, absolute figures are not:

    workload | system                           | batches/s (min..max)       |  GB/s | ratio |  p50 µs |  p99 µs
    -------- | -------------------------------- | -------------------------- | ----: | ----: | ------: | ------:
    large    | NumPy in main                    |        15 (    15..    15) |  0.14 |  1.00 |   32720 |  182493
    large    | datarax_mp, 0 workers            |        15 (    15..    15) |  0.14 |  0.99 |   36578 |  199683
    large    | datarax_mp, 1 worker             |        20 (    20..    20) |  0.20 |  1.39 |   28521 |  159526
    large    | datarax_mp, 2 workers            |        34 (    34..    34) |  0.32 |  2.31 |     406 |  237027
    large    | datarax_mp, 2 workers, NumPy out |        37 (    37..    37) |  0.35 |  2.50 |    8866 |  182920
    large    | warm copy, one core              |        88 (    88..    88) |  0.85 |  6.04 |    3985 |  110210
    small    | NumPy in main                    |       118 (   118..   118) |  0.09 |  1.00 |    2402 |  111811
    small    | datarax_mp, 0 workers            |        61 (    61..    61) |  0.05 |  0.51 |    4050 |  143176
    small    | datarax_mp, 1 worker             |        96 (    96..    96) |  0.08 |  0.81 |    2532 |  137251
    small    | datarax_mp, 2 workers            |       144 (   144..   144) |  0.11 |  1.22 |     289 |  144752
    small    | datarax_mp, 2 workers, NumPy out |       212 (   212..   212) |  0.17 |  1.79 |     756 |  100526
    small    | warm copy, one core              |       905 (   905..   905) |  0.71 |  7.67 |     105 |   10104
    table    | NumPy in main                    |      1350 (  1350..  1350) |  0.01 |  1.00 |     161 |    8962
    table    | datarax_mp, 0 workers            |      2265 (  2265..  2265) |  0.02 |  1.68 |      32 |    6231
    table    | datarax_mp, 1 worker             |      1442 (  1442..  1442) |  0.01 |  1.07 |      36 |   10036
    table    | datarax_mp, 2 workers            |      1927 (  1927..  1927) |  0.02 |  1.43 |      42 |    7135
    table    | datarax_mp, 2 workers, NumPy out |      3255 (  3255..  3255) |  0.03 |  2.41 |      11 |    1631
    table    | warm copy, one core              |     18130 ( 18130.. 18130) |  0.16 | 13.43 |       6 |     104
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _rounds import conditions, fresh, median_ratio, spread

PREFETCH = 2
CHILD_SECONDS = 120  # beyond start, data and measurement; only reached in case of a hang


@dataclass(frozen=True)
class Workload:
    """Records and how they are batched.

    Attributes:
        batch_size: records in a batch.
        batches: batches in an epoch; the epoch divides without a rest.
        field: the name of the array beside ``label``.
        shape: one record's.
        dtype: of the array.
    """

    batch_size: int
    batches: int
    field: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def batch_bytes(self) -> int:
        """Bytes of a batch, labels included."""
        return self.batch_size * (int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize + 4)

    def data(self) -> dict[str, np.ndarray]:
        """The columns."""
        rng = np.random.default_rng(0)
        records = self.batch_size * self.batches
        array = rng.integers(0, 256, (records, *self.shape), np.uint8).astype(self.dtype, copy=False)
        return {self.field: array, "label": rng.integers(0, 10, records, np.int32)}


WORKLOADS = {
    "large": Workload(64, 62, "image", (224, 224, 3), "uint8"),
    "small": Workload(256, 400, "image", (32, 32, 3), "uint8"),
    "table": Workload(128, 2000, "features", (16,), "float32"),
}

BASELINE = "NumPy in main"
SYSTEMS: dict[str, dict[str, Any] | None] = {
    BASELINE: None,
    "datarax_mp, 0 workers": {"num_workers": 0},
    "datarax_mp, 1 worker": {"num_workers": 1},
    "datarax_mp, 2 workers": {"num_workers": 2},
    "datarax_mp, 2 workers, NumPy out": {"num_workers": 2, "output": "numpy"},
    "warm copy, one core": None,
}


def numpy_in_main(workload: Workload) -> Iterator[dict[str, Any]]:
    """What one writes without a loader."""
    import jax  # delayed: only the systems that need JAX pay for it

    data = workload.data()
    rng = np.random.default_rng(1)
    while True:
        order = rng.permutation(workload.batch_size * workload.batches)
        for index in order.reshape(workload.batches, workload.batch_size):
            yield jax.device_put({name: column[index] for name, column in data.items()})


def warm_copy(workload: Workload) -> Iterator[dict[str, Any]]:
    """One core's limit: no page is new, nothing is allocated, nothing is moved."""
    data = workload.data()
    out = {name: np.zeros((workload.batch_size, *column.shape[1:]), column.dtype) for name, column in data.items()}
    rng = np.random.default_rng(1)
    while True:
        order = rng.permutation(workload.batch_size * workload.batches)
        for index in order.reshape(workload.batches, workload.batch_size):
            for name, column in data.items():
                np.take(column, index, axis=0, out=out[name], mode="clip")
            yield out


def ours(workload: Workload, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A pipeline, epoch after epoch."""
    from datarax_mp import MemorySource, MemorySourceConfig, Pipeline

    source = MemorySource(MemorySourceConfig(shuffle=True), workload.data(), rngs=np.random.default_rng(1))
    with Pipeline(source=source, batch_size=workload.batch_size, prefetch_size=PREFETCH, **options) as pipeline:
        while True:
            yield from pipeline


def run_child(workload: Workload, system: str, seconds: float) -> dict[str, Any]:
    """Measure one system in this process: batches per second and the waits in ``next()`` in µs."""
    options = SYSTEMS[system]
    if options is not None:
        batches = ours(workload, options)
    else:
        batches = numpy_in_main(workload) if system == BASELINE else warm_copy(workload)
    ready: Callable[[Any], Any] = _first_bytes
    if system == BASELINE or (options is not None and options.get("output") != "numpy"):
        import jax  # delayed: NumPy output is to be measured without it

        ready = jax.block_until_ready

    waits: list[float] = []
    warm_up = 2 * (options or {}).get("num_workers", 0) + PREFETCH + 5
    for _ in itertools.islice(batches, warm_up):
        pass
    now = began = time.perf_counter()
    while now - began < seconds:
        before = now
        batch = next(batches)
        waits.append(time.perf_counter() - before)
        ready([batch[workload.field], batch["label"]])
        now = time.perf_counter()
    batches.close()  # type: ignore[attr-defined]
    return {"rate": len(waits) / (now - began), "waits": [round(wait * 1e6, 1) for wait in waits]}


def _first_bytes(arrays: list[np.ndarray]) -> None:
    for array in arrays:
        array[0].max()


def measure(name: str, system: str, seconds: float) -> dict[str, Any]:
    """Measure one system in a fresh process."""
    arguments = ["--child", name, system, "--seconds", str(seconds)]
    result: dict[str, Any] = fresh(__file__, arguments, seconds + CHILD_SECONDS)
    return result


def report(name: str, results: dict[str, list[dict[str, Any]]]) -> None:
    """Print one workload's lines of the table."""
    baseline = [result["rate"] for result in results[BASELINE]]
    for system, rounds in results.items():
        rates = [result["rate"] for result in rounds]
        rate = statistics.median(rates)
        ratio = median_ratio(rates, baseline)
        p50, p99 = np.percentile(np.concatenate([result["waits"] for result in rounds]), [50, 99])
        print(
            f"{name:8} | {system:32} | {spread(rates)} "
            f"| {rate * WORKLOADS[name].batch_bytes / 1e9:5.2f} | {ratio:5.2f} | {p50:7.0f} | {p99:7.0f}",
            flush=True,
        )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Batches per second of three workloads.")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="which (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all systems (default: 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds to measure for, each (default: 3)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, system = options.child
        json.dump(run_child(WORKLOADS[name], system, options.seconds), sys.stdout)
        return

    print(f"{conditions('jax', 'flax', 'numpy')}; {options.rounds} rounds of {options.seconds:g} s\n")
    print(f"{'workload':8} | {'system':32} | {'batches/s (min..max)':26} |  GB/s | ratio |  p50 µs |  p99 µs")
    print(f"{'-' * 8} | {'-' * 32} | {'-' * 26} | ----: | ----: | ------: | ------:", flush=True)
    for name in options.workloads:
        results: dict[str, list[dict[str, Any]]] = {system: [] for system in SYSTEMS}
        for _ in range(options.rounds):
            for system in SYSTEMS:
                results[system].append(measure(name, system, options.seconds))
        report(name, results)


if __name__ == "__main__":
    main()
