"""Moving a batch's arrays to the device: which way is quickest at which size, and what it does to the memory.

Two arrays are moved, a block of uint8 images and 64 int32 labels, from 64-byte aligned memory: by
``jax.device_put``, by a jitted identity, and as the pipeline does it (``datarax_mp.pipeline.transfer``). The calling
thread's time counts, for that is what a training loop waits for.

    python scripts/measure_transfer.py

How to read it: each number is the median over rounds of a round's median. The three ways take turns, call by call, and
each result is let go before the next call. "aliases" says that the jax.Array's ``unsafe_buffer_pointer`` is the very
address that NumPy names: nothing was copied, and the slot stays lent for as long as the array lives. "copies" says that
it is not, and the slot is free at once. The crossover is the smallest size from which device_put is quicker
for the image block alone; ``_ALIAS_BYTES`` in transfer.py should lie near it, though not exactly: a copy frees the slot
and is warm in the cache, an alias keeps a core from copying.

On an accelerator everything is a copy, and the call only starts it; the table then says what starting it costs.

2 cores, CPU backend, jax 0.10.2, numpy 2.4.6, Python 3.11.7, 2026-11-24, while test suites ran on the same cores
(load 2 to 2.6; transfer.py has 50 to 60 µs for device_put from another run, so the crossover is to be measured again on
a free machine):

    image block | device_put        | jitted identity   | datarax_mp
    ----------: | ----------------- | ----------------- | -----------------
           2 kB |    116.2  aliases |     21.7  copies  |     15.9  copies
          16 kB |    163.6  aliases |     32.3  copies  |     20.8  copies
          66 kB |    130.7  aliases |     30.3  copies  |     24.5  copies
         131 kB |    123.0  aliases |     28.7  copies  |     23.4  copies
         197 kB |    127.6  aliases |     35.1  copies  |     29.3  copies
         262 kB |     86.9  aliases |     46.3  copies  |     85.2  aliases
         393 kB |    129.7  aliases |     78.2  copies  |    138.8  aliases
         786 kB |    118.1  aliases |    101.3  copies  |    153.8  aliases
        2458 kB |    121.8  aliases |    295.3  copies  |    174.1  aliases
        9634 kB |    131.5  aliases |    712.0  copies  |    202.1  aliases

    One block alone: the jitted identity is quicker up to 1049 kB, device_put from 2097 kB on; in use is
    _ALIAS_BYTES = 262 kB.
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
from datarax_mp.pipeline import transfer

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


def crossover(identity: Way, rounds: int) -> tuple[int, int]:
    """Between which two sizes in bytes, of one block, device_put becomes quicker for good; 0 for no such size."""
    sizes = [1 << power for power in range(14, 24)]
    quicker = []
    for size in sizes:
        layout = Layout.of({"image": np.zeros(size // ROWS, np.uint8)}, number=0, batch_size=ROWS, x64=False)
        ring = ring_of(layout)
        time_ways([jax.device_put, identity], ring, 5)
        found = [time_ways([jax.device_put, identity], ring, 40) for _ in range(rounds)]
        put, copied = (statistics.median(times) for times in zip(*found, strict=True))
        quicker.append(put <= copied)
    last = max((place for place, yes in enumerate(quicker) if not yes), default=-1)
    return sizes[last] if last >= 0 else 0, sizes[last + 1] if last + 1 < len(sizes) else 0


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

    below, above = crossover(identity, options.rounds)
    print(f"\nOne block alone: the jitted identity is quicker up to {below / 1e3:.0f} kB, ", end="")
    print(f"device_put from {above / 1e3:.0f} kB on; " if above else "device_put at no size; ", end="")
    print(f"in use is _ALIAS_BYTES = {transfer._ALIAS_BYTES / 1e3:.0f} kB.")


if __name__ == "__main__":
    main()
