"""Moving a batch's arrays to the device: which way is quickest at which size, and what it does to the memory.

Two arrays are moved, a block of uint8 images and 64 int32 labels, from 64-byte aligned memory: by
``jax.device_put``, by a jitted identity, and as the pipeline does it (``datarax_mp.delivery.transfer``). The calling
thread's time counts, for that is what a training loop waits for.

    python scripts/measure_transfer.py

How to read it: each number is the median over rounds of a round's median. The three ways take turns, call by call, and
each result is let go before the next call. "aliases" says that the jax.Array's ``unsafe_buffer_pointer`` is the very
address that NumPy names: nothing was copied, and the slot stays lent for as long as the array lives. "copies" says that
it is not, and the slot is free at once.

On an accelerator everything is a copy, and the call only starts it; the table then says what starting it costs.

Figures: ``results/measure_transfer-2026-11-25.txt``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from datarax_mp.core.spec import ALIGNMENT, Layout
from datarax_mp.delivery import transfer

ROWS = 64
SIZES = (2_048, 16_384, 65_536, 131_072, 196_608, 262_144, 393_216, 786_432, 2_457_600, 9_633_792)
RING_BYTES = 9 << 20

Way = Callable[[list[np.ndarray]], Any]


def ring_of(layout: Layout) -> list[list[np.ndarray]]:
    """The arrays of as many batches as a ring of 9 MB holds, nine at least, each where XLA can alias it."""
    count = max(9, RING_BYTES // layout.block_bytes)
    memory = np.zeros(count * layout.block_bytes + ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return [layout.rows(memory, start + slot * layout.block_bytes, layout.batch_size) for slot in range(count)]


def time_ways(ways: Sequence[Way], ring: list[list[np.ndarray]], calls: int) -> list[float]:
    """The median time of one call in the calling thread, in µs, for each way; the ways take turns."""
    times: list[list[float]] = [[] for _ in ways]
    slots = itertools.cycle(ring)
    for _ in range(calls):
        for place, way in enumerate(ways):
            arrays = next(slots)
            began = time.perf_counter()
            moved = way(arrays)
            times[place].append((time.perf_counter() - began) * 1e6)
            jax.block_until_ready(moved)
            del moved
    return [statistics.median(found) for found in times]


def fate(way: Way, arrays: list[np.ndarray]) -> str:
    """What becomes of the image block: whether the result lies at the very same address."""
    moved = jax.tree.leaves(jax.block_until_ready(way(arrays)))[0]
    same = moved.unsafe_buffer_pointer() == arrays[0].__array_interface__["data"][0]
    return "aliases" if same else "copies"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Ways to the device, by size.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take the median over (default: 5)")
    parser.add_argument("--calls", type=int, default=100, help="calls of each way in a round (default: 100)")
    options = parser.parse_args()

    jitted = jax.jit(lambda *arrays: arrays)

    def identity(arrays: list[np.ndarray]) -> Sequence[Any]:
        return jitted(*arrays)

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, ", end="")
    print(f"jax {jax.__version__} ({jax.default_backend()}), numpy {np.__version__}; ", end="")
    print(f"medians of {options.rounds} rounds, µs in the calling thread\n")
    print(f"{'image block':>11} | {'device_put':17} | {'jitted identity':17} | {'datarax_mp':17}")
    print(f"----------: | {'-' * 17} | {'-' * 17} | {'-' * 17}")
    for size in SIZES:
        record = {"image": np.zeros(size // ROWS, np.uint8), "label": np.int32(0)}
        layout = Layout.of(record, number=0, batch_size=ROWS, x64=False)
        ways: list[Way] = [
            jax.device_put,
            identity,
            transfer.make_transfer(layout, output="jax", device=None, sharding=None),
        ]
        ring = ring_of(layout)
        time_ways(ways, ring, 5)  # warm-up: compilation
        rounds = [time_ways(ways, ring, options.calls) for _ in range(options.rounds)]
        cells = [
            f"{statistics.median(times):8.1f}  {fate(way, ring[0]):7}"
            for way, times in zip(ways, zip(*rounds, strict=True), strict=True)
        ]
        print(f"{size / 1e3:8.0f} kB | {' | '.join(cells)}")


if __name__ == "__main__":
    main()
