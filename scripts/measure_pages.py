"""What pages of two megabytes are worth: for placing data in shared memory, and for gathering rows of it.

    python scripts/measure_pages.py
    python scripts/measure_pages.py --megabytes 1000 --row-bytes 150528 --processes 8

*Small* is ``posix_fallocate`` and a mapping as the kernel lays it; *huge* is what this package does
(``datarax_mp/ring/huge_pages.py``). Each is a file of its own, in turns. *Pages* gives it its pages, *fill* writes to
all of them through a mapping, and *gather* takes rows at random into 18 buffers in turn, in as many processes at once
as are asked for.

How to read it: milliseconds for the file, and microseconds of a process's CPU for a batch; medians of all rounds. Where
the kernel refuses huge pages, it says so, and both are the same.

Figures: ``results/measure_pages-2026-11-28.txt``.
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import os
import statistics
import time
from typing import Any

import numpy as np

from datarax_mp.ring import files
from datarax_mp.ring.huge_pages import map_aligned

KINDS = ("small", "huge")
BUFFERS = 18
FILLED_AT_ONCE = 1 << 20


def made(kind: str, size: int) -> tuple[mmap.mmap, float, float]:
    """A filled mapping, and the seconds for its pages and for filling it."""
    began = time.perf_counter()
    if kind == "huge":
        descriptor = files.create(size)
    else:
        descriptor = os.memfd_create("measure_pages")
        os.ftruncate(descriptor, size)
        os.posix_fallocate(descriptor, 0, size)
    paged = time.perf_counter()
    memory = map_aligned(lambda: mmap.mmap(descriptor, size), size) if kind == "huge" else mmap.mmap(descriptor, size)
    os.close(descriptor)
    part = bytes(range(256)) * (FILLED_AT_ONCE // 256)
    for start in range(0, size, FILLED_AT_ONCE):
        memory[start : start + FILLED_AT_ONCE] = part[: size - start]
    return memory, paged - began, time.perf_counter() - paged


def gather(rows: np.ndarray, batch: int, seconds: float, number: int, barrier: Any, results: Any) -> None:
    """Take rows at random for a while, and tell the CPU seconds of a batch."""
    order = np.random.default_rng(number).permutation(len(rows) // batch * batch).reshape(-1, batch)
    outs = [rows[:batch].copy() for _ in range(BUFFERS)]
    rows[:, 0].sum()  # every page has been met
    barrier.wait()
    count, began, stop = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        np.take(rows, order[count % len(order)], axis=0, out=outs[count % BUFFERS], mode="clip")
        count += 1
    results.put((time.process_time() - began) / count)


def gathering(rows: np.ndarray, batch: int, seconds: float, processes: int) -> float:
    """The mean CPU seconds of a batch."""
    context = multiprocessing.get_context("fork")  # so that all look at one mapping; there are no threads here
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    started = [
        context.Process(target=gather, args=(rows, batch, seconds, number, barrier, results))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    spent = [results.get() for _ in started]
    for process in started:
        process.join()
    return statistics.mean(spent)


def in_huge_pages() -> int:
    """Megabytes of shared memory in huge pages that this process has mapped as such."""
    with open("/proc/self/smaps") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("ShmemPmdMapped")) * 1024 // 1_000_000


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="What pages of two megabytes are worth.")
    add = parser.add_argument
    add("--megabytes", type=int, default=315, help="of data (315)")
    add("--row-bytes", type=int, default=3072, help="of a row (3072)")
    add("--batch", type=int, default=256, help="rows in a batch (256)")
    add("--processes", type=int, default=len(os.sched_getaffinity(0)), help="that gather (one per core)")
    add("--rounds", type=int, default=5, help="to take the median of (5)")
    add("--seconds", type=float, default=1.0, help="to gather for (1)")
    options = parser.parse_args()
    count = max(options.megabytes * 1_000_000 // options.row_bytes, options.batch)
    size = count * options.row_bytes
    found: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            memory, paged, filled = made(kind, size)
            rows = np.frombuffer(memory, np.uint8).reshape(count, options.row_bytes)
            spent = gathering(rows, options.batch, options.seconds, options.processes)
            if kind == "huge" and not found[kind]:
                print(f"{in_huge_pages()} of {size // 1_000_000} MB are in huge pages")
            found[kind].append((paged * 1e3, filled * 1e3, spent * 1e6))
            del memory, rows
    print(f"{'':8}{'pages, ms':>12}{'fill, ms':>12}{'gather, us':>12}")
    for kind in KINDS:
        medians = (statistics.median(values) for values in zip(*found[kind], strict=True))
        print(f"{kind:8}" + "".join(f"{value:12.1f}" for value in medians))


if __name__ == "__main__":
    main()
