"""Work in the workers, beside torch, Grain, SPDL and a plain loop: records per second, and CPU time per record.

Three kinds of work, each the same functions over the same records for every system:

    photographs   decode a JPEG, random resized crop to 224, random flip; 64 x 224x224x3 uint8, shuffled
    busy          pure Python that holds the GIL for 5 ms of CPU time a record; 16 x 16 float32, in order
    stragglers    the same, for 1 to 100 ms, log-uniform by record number (21 ms in the mean)

    pip install "datarax-mp[bench]"
    python scripts/measure_stages.py --folder FOLDER                         # all; some 20 minutes
    python scripts/measure_stages.py --folder FOLDER --work photographs      # some 6 minutes
    python scripts/measure_stages.py --work busy stragglers --workers 2      # some 8 minutes, needs no photographs

FOLDER holds JPEG files; their list is repeated, so no system comes to the end of an epoch. Every system runs in a
process of its own; the systems take turns, round by round. Every batch is brought to the JAX device
(``jax.device_put``; ours has done so itself) and waited for in the main process, and only the current one is kept.
What the workers may have made ahead is not counted, neither its records nor its CPU time. A system that is not
installed is left out, with a line that says so.

How to read it: "records/s" is the median of the rounds with the smallest and the largest. "ratio" is to datarax_mp with
as many workers, in the same round. "share" is the rate by that of "single process, no loader" (a plain loop over the
same functions) times the cores, also in the same round: 100 % is all that the machine can do. "CPU" is the CPU time,
user and system, of the main process and all its descendants, in seconds per 1,000 records; "cores" is the same per
second, so how many cores were kept busy. Where "share" is low and "cores" high, the loader burns the difference; where
both are low, workers wait. Where two logical cores are one physical core, the photographs' work cannot reach 100 %.

What is the same for all: the source (one file read per record), the decoder, the crop and the flip of ``datarax_mp``,
and one NumPy generator per record: ours and Grain's come from the loader (one for each of the two stages), the other
systems make ``np.random.default_rng((seed, number))``. Every process has one thread for OpenCV, BLAS and OpenMP
(variables in the environment; ours sets them by itself), so "2 workers" are two processes that compute. Up to two
finished batches wait for each worker.

The peers' forms, each the best that was found (``scripts/_loaders.py`` has them):

    torch       its own collation to tensors in shared memory; a collate_fn of NumPy's stack costs 0.3 s more per
                1,000 photographs. For stragglers also ``in_order=False``, the only system that gives up the order.
    Grain       MapDataset with a batch and ``mp_prefetch``, one reading thread, one batch read ahead. The default of
                16 threads and 500 elements costs 0.4 s more per 1,000 photographs and as many batches' memory when
                the batch comes before it; ``num_threads=0``, batching after reading, and ``DataLoader`` cost 0.1 to
                0.3 s more.
    SPDL        one ``iterate_in_subprocess`` per worker that takes its turn, each with a SharedMemorySegmentPool. A
                SharedMemoryRingBuffer costs 0.05 s more per 1,000 photographs, ``.to(ProcessPoolExecutorConfig)`` 0.2 s
                and ``pipe(executor=ProcessPoolExecutor)`` 0.4 s, for want of an arena. For stragglers also the last,
                which gives a batch to whichever process is free.

Workers are forked before the main process uses JAX, as torch and SPDL do on Linux by default; Grain's are spawned.

When a loader is *not* worth using: where one process keeps up with the training step. "share" of one process on two
cores is 50 %; a loader with one worker cannot do better than that plus what main does meanwhile.

What other forms cost was seen on a machine that others used too, where CPU times vary by some 10 %. The following is
of an idle one: photographs the median of 2 rounds of 5 s (none varied by more than 4 %), the rest one round of 4 s,
so that a difference of one per cent is nothing:

    2 cores, CPU backend, jax 0.10.2, numpy 2.4.6, torch 2.13.0+cpu, grain 0.2.18, spdl-core 0.8.0,
    opencv-python-headless 5.0.0.93, simplejpeg 1.9.0, Python 3.11.7, 2026-11-24; 200 photographs of ImageNet, 110 kB

    work        | system                    | workers | records/s | ratio | share  | CPU    | cores
    ----------- | ------------------------- | ------: | --------- | ----: | -----: | -----: | ----:
    photographs | single process, no loader |       0 |     507.6 |       |    50% |   1.97 |  1.00
    photographs | datarax_mp                |       2 |    1040.1 |  1.00 |   102% |   1.92 |  1.99
    photographs | torch DataLoader          |       2 |     939.0 |  0.90 |    93% |   2.12 |  1.99
    photographs | Grain mp_prefetch         |       2 |     889.8 |  0.86 |    88% |   2.24 |  1.99
    photographs | SPDL subprocesses         |       2 |     981.3 |  0.94 |    97% |   2.03 |  1.99
    busy        | single process, no loader |       0 |     198.7 |       |    50% |   5.02 |  1.00
    busy        | datarax_mp                |       2 |     395.8 |  1.00 |   100% |   5.03 |  1.99
    busy        | torch DataLoader          |       2 |     384.8 |  0.97 |    97% |   5.19 |  2.00
    busy        | Grain mp_prefetch         |       2 |     369.2 |  0.93 |    93% |   5.11 |  1.89
    busy        | SPDL subprocesses         |       2 |     394.9 |  1.00 |    99% |   5.06 |  2.00
    stragglers  | single process, no loader |       0 |      46.4 |       |    50% |  21.52 |  1.00
    stragglers  | datarax_mp                |       2 |      92.6 |  1.00 |   100% |  21.50 |  1.99
    stragglers  | torch DataLoader          |       2 |      91.8 |  0.99 |    99% |  21.52 |  1.97
    stragglers  | torch, in_order=False     |       2 |      91.5 |  0.99 |    99% |  21.81 |  2.00
    stragglers  | Grain mp_prefetch         |       2 |      91.6 |  0.99 |    99% |  21.74 |  1.99
    stragglers  | SPDL subprocesses         |       2 |      92.5 |  1.00 |   100% |  21.58 |  2.00
    stragglers  | SPDL pool of processes    |       2 |      82.8 |  0.89 |    89% |  21.34 |  1.77

With two workers and two batches ahead, stragglers part nobody from anybody: sums of 16 records are even enough.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
from _loaders import AHEAD, CYCLE, Busy, Loader, Numbers, Work, by_grain, by_spdl, by_spdl_pool, by_torch, ours, single
from _rounds import conditions, fresh, median_ratio, spread

CHILD_SECONDS = 120  # beyond the measurement, for start, warm-up and end; only reached in case of a hang
RECORDS = 128_000  # in an epoch, which nobody gets to the end of
# One thread in every process, for all systems alike: datarax_mp's workers set this for themselves, torch's do in part.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
ONE_THREAD = dict.fromkeys(_THREADS, "1")


@dataclass(frozen=True)
class System:
    """One row for each number of workers.

    Attributes:
        loader: makes the batches.
        needs: the module that must be installed.
        only: the kind of work that it is for; None is all.
    """

    loader: Loader
    needs: str | None = None
    only: str | None = None


SINGLE, OURS = "single process, no loader", "datarax_mp"
SYSTEMS = {
    SINGLE: System(single),
    OURS: System(ours),
    "torch DataLoader": System(by_torch, "torch"),
    "torch, in_order=False": System(functools.partial(by_torch, in_order=False), "torch", "stragglers"),
    "Grain mp_prefetch": System(by_grain, "grain"),
    "SPDL subprocesses": System(by_spdl, "spdl"),
    "SPDL pool of processes": System(by_spdl_pool, "spdl", "stragglers"),
}
WORK = ("photographs", "busy", "stragglers")


def make_work(name: str, folder: Path | None) -> Work:
    """What every system has to do."""
    if name == "busy":
        return Work(Numbers(RECORDS), (Busy(0.005, 0.005),), 16, False, "x")
    if name == "stragglers":
        return Work(Numbers(RECORDS), (Busy(0.001, 0.1),), 16, False, "x", cycle=CYCLE // 16)
    from datarax_mp import ImageFolderSource, RandomFlip, RandomResizedCrop

    assert folder is not None
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    files = list(itertools.islice(itertools.cycle(files), RECORDS))
    return Work(ImageFolderSource(folder, files), (RandomResizedCrop(224), RandomFlip()), 64, True, "image")


def cpu_seconds() -> float:
    """User and system time of this process and all its descendants, those that have ended included."""
    total = 0.0
    this = psutil.Process()
    for process in (*this.children(recursive=True), this):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # its parent, which has waited for it, is asked later
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def run_child(work: Work, loader: Loader, workers: int, seconds: float) -> dict[str, float]:
    """Measure one system in this process.

    Returns:
        ``rate``, records per second; ``cpu``, CPU seconds per 1,000 records; ``cores``, how many were kept busy.
    """
    batches = loader(work, workers)
    first = next(batches)
    # Delayed: whoever forks has done so by now, and JAX's threads are not forked. Ours has imported it itself.
    import jax

    def bring(batch: dict[str, Any]) -> Any:
        return jax.block_until_ready(batch if loader is ours else jax.device_put(batch))

    assert bring(first)[work.field].shape == (work.batch_size, *work[0][work.field].shape)
    del first
    for _ in range(workers * (AHEAD + 1) + 2):
        batch = bring(next(batches))
    count, cpu, began = 0, cpu_seconds(), time.perf_counter()
    now = began
    while now - began < seconds:
        for _ in range(work.cycle):
            batch = bring(next(batches))
            count += work.batch_size
        now = time.perf_counter()
    cpu = cpu_seconds() - cpu
    del batch
    return {"rate": count / (now - began), "cpu": 1000 * cpu / count, "cores": cpu / (now - began)}


def measure(name: str, row: tuple[str, int], options: argparse.Namespace) -> dict[str, float] | None:
    """Measure one system in a fresh process; None and a line on standard error when that fails."""
    system, workers = row
    arguments = ["--system", system, "--work", name, "--workers", str(workers), "--seconds", str(options.seconds)]
    if options.folder:
        arguments += ["--folder", str(options.folder)]
    try:
        result: dict[str, float] = fresh(__file__, arguments, options.seconds + CHILD_SECONDS, ONE_THREAD)
    except (subprocess.SubprocessError, ValueError) as error:
        print(f"{name}: {system}, {workers} workers has failed: {error}", file=sys.stderr)
        return None
    figures = ", ".join(f"{key} {value:.2f}" for key, value in result.items())
    print(f"{name}: {system}, {workers} workers: {figures}", file=sys.stderr)
    return result


def report(name: str, results: dict[tuple[str, int], list[dict[str, float]]], rounds: int) -> None:
    """Print the lines of one kind of work."""
    whole = len(os.sched_getaffinity(0))

    def rates(row: tuple[str, int]) -> list[float]:
        return [result["rate"] for result in results.get(row, [])]

    for row, measured in results.items():
        cells = f"{name:11} | {row[0]:25} | {row[1]:7}"
        if len(measured) < rounds:
            print(f"{cells} | failed in {rounds - len(measured)} of {rounds} rounds")
            continue
        cells += f" | {spread(rates(row), 1)}"
        reference = rates((OURS, row[1]))
        cells += f" | {median_ratio(rates(row), reference):5.2f}" if len(reference) == rounds else f" | {'':5}"
        unit = rates((SINGLE, 0))
        cells += f" | {median_ratio(rates(row), unit) / whole:6.0%}" if len(unit) == rounds else f" | {'':6}"
        cpu = statistics.median(result["cpu"] for result in measured)
        print(f"{cells} | {cpu:6.2f} | {statistics.median(result['cores'] for result in measured):5.2f}", flush=True)


def installed() -> list[str]:
    """The names of the systems that can be measured; a line for each that cannot."""
    found = []
    for name, system in SYSTEMS.items():
        if system.needs is None or find_spec(system.needs) is not None:
            found.append(name)
        else:
            print(f'{name} is left out, it is not installed: pip install "datarax-mp[bench]"')
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Work in the workers, beside other loaders.")
    parser.add_argument("--folder", type=Path, help="photographs, JPEG, for the work of that name")
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK), help="which (all)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (1 2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all systems (default: 3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds to measure for, each (default: 8)")
    parser.add_argument("--json", type=Path, help="a file for every round's figures")
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if "photographs" in options.work and options.folder is None:
        parser.error("the work photographs needs --folder")
    return options


def main() -> None:
    """Measure and print a table."""
    options = parse()
    if options.system:
        work, loader = make_work(options.work[0], options.folder), SYSTEMS[options.system].loader
        print(json.dumps(run_child(work, loader, options.workers[0], options.seconds)))
        return

    systems = installed()
    print(
        conditions("datarax-mp", "jax", "numpy", "torch", "grain", "spdl-core", "opencv-python-headless", "simplejpeg")
    )
    print(f"{options.rounds} rounds of {options.seconds:g} s\n")
    print(f"{'work':11} | {'system':25} | workers | {'records/s (min..max)':25} | ratio | share  | CPU    | cores")
    print(f"{'-' * 11} | {'-' * 25} | ------: | {'-' * 25} | ----: | -----: | -----: | ----:", flush=True)
    figures: dict[str, dict[str, Any]] = {}
    for name in options.work:
        rows = [
            (system, workers)
            for workers in (0, *options.workers)
            for system in systems
            if (system == SINGLE) == (workers == 0) and SYSTEMS[system].only in (None, name)
        ]
        results: dict[tuple[str, int], list[dict[str, float]]] = {row: [] for row in rows}
        for _ in range(options.rounds):
            for row in rows:
                if (result := measure(name, row, options)) is not None:
                    results[row].append(result)
        report(name, results, options.rounds)
        figures[name] = {f"{system}, {workers} workers": result for (system, workers), result in results.items()}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
