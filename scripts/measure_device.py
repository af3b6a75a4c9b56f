"""The last metre: how quickly arrays get from host memory to the device, what it costs the CPU, what is left of a step.

    python scripts/measure_device.py            on an accelerator: three tables and a check, in under five minutes
    python scripts/measure_device.py --quick    fewer sizes and shorter turns; also what a CPU is good for

**Transfer.** An array of so many bytes goes to the device, and is waited for; or several are on their way at a time.
GB/s, and CPU seconds of this process for each GB:

    slot        out of ordinary memory that is used again and again, as a ring's slots are, by the pipeline's own way
                (a CPU looks into it without a copy, whatever its size)
    registered  the same, after the memory was registered with the client (``delivery/dma.py``), so that the device
                reads it by itself; a dash where the client refuses, as the CPU's does
    fresh       ``jax.device_put`` of a NumPy array that was made anew
    torch       from torch's pinned memory, ``non_blocking``; a dash without torch and CUDA

The link's limit is what the quickest of them reaches with the largest arrays; a H100 by PCIe 5 x16 has some 55 GB/s.

**Overlap.** A pipeline of 9.6 MB batches, and a step that keeps the device busy for 1, 5 and 20 ms: the time of a step
by how many batches stand ready. It is deep enough where that is the step's own time. A CPU is its own device, so there
the loader and the step take time from each other.

**AU.** How much of the time the device is at work (MLPerf Storage calls it accelerator utilization), for a step of a
ResNet-50's length (``--resnet-ms``, 64 photographs) and batches of 9.6 MB, by the number of workers.

**Checksums.** At last, batches of numbered records go to the device as fast as it takes them, and nobody waits for any
before the end. The device sums each record up: one that was overwritten before it had arrived has another sum.

The turns alternate, and numbers are medians over rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from datarax_mp import Pipeline
from datarax_mp.delivery.dma import dma_client, memory_class, register
from datarax_mp.delivery.put import make_put
from datarax_mp.ring import Ring

SIZES = (10_240, 102_400, 1_048_576, 10_485_760, 104_857_600)
IMAGES = (64, 224, 224, 3)

Way = Callable[[int], Any]  # of a turn's number; what it returns is on its way to the device


def slots(size: int, device: Any, *, registered: bool) -> list[np.ndarray] | None:
    """Arrays in four slots of a ring; None if it cannot be registered."""
    client = dma_client(device) if registered else None
    if registered and client is None:
        return None
    ring = Ring(4, size, shared=True, kind=memory_class())
    if registered and not register(ring.memory, client, device):
        return None
    arrays = [np.ndarray((size,), np.uint8, ring.lease(slot)) for slot in range(4)]
    for array in arrays:
        array[:] = 1
    return arrays


def from_slots(size: int, device: Any, *, registered: bool) -> Way | None:
    """The pipeline's way out of a ring."""
    arrays, put = slots(size, device, registered=registered), make_put(device)
    return None if arrays is None else lambda turn: put(arrays[turn % 4])


def from_fresh(size: int, device: Any) -> Way:
    """``jax.device_put`` of an array that was made anew."""
    return lambda turn: jax.device_put(np.full(size, 1, np.uint8), device)


def by_torch(size: int) -> Way | None:
    """Torch's own way; None without CUDA."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    pinned = [torch.ones(size, dtype=torch.uint8, pin_memory=True) for _ in range(4)]

    class Copy:
        """On its way."""

        def __init__(self, turn: int) -> None:
            self.tensor = pinned[turn % 4].to("cuda", non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()

        def block_until_ready(self) -> None:
            """Wait for it."""
            self.event.synchronize()

    return Copy


def turn_of(way: Way, size: int, streams: int, seconds: float) -> tuple[float, float]:
    """GB/s and CPU seconds for each GB, with so many arrays on their way at a time."""
    under_way: deque[Any] = deque()
    turns, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds or turns < 3:
        under_way.append(way(turns))
        turns += 1
        if len(under_way) >= streams:
            under_way.popleft().block_until_ready()
    while under_way:
        under_way.popleft().block_until_ready()
    gigabytes = turns * size / 1e9
    return gigabytes / (time.perf_counter() - wall), (time.process_time() - cpu) / gigabytes


def transfer_table(device: Any, sizes: tuple[int, ...], seconds: float, rounds: int) -> None:
    """Print the first table."""
    print(f"\n{'bytes':>12} {'at a time':>9}  " + "".join(f"{name:>20}" for name in WAYS))
    for size in sizes:
        ways = {name: make(size, device) for name, make in WAYS.items()}
        for streams in (1, 4):
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for turn in range(rounds + 1):
                for name, way in ways.items():
                    if way is not None:
                        took = turn_of(way, size, streams, seconds)
                        found[name] += [took] if turn else []
            cells = (
                "-" if not took else "{:.2f} GB/s {:.3f}".format(*map(statistics.median, zip(*took, strict=True)))
                for took in found.values()
            )
            print(f"{size:12,} {streams:9}  " + "".join(f"{cell:>20}" for cell in cells))


WAYS: dict[str, Callable[[int, Any], Way | None]] = {
    "slot": lambda size, device: from_slots(size, device, registered=False),
    "registered": lambda size, device: from_slots(size, device, registered=True),
    "fresh": from_fresh,
    "torch": lambda size, _: by_torch(size),
}


@jax.jit
def _busy(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Something that depends on the batch and takes so many turns."""
    weights = images[:, 0, 0, 0].astype(np.float32).mean() + jax.numpy.eye(256)
    return jax.lax.fori_loop(0, turns, lambda _, held: jax.numpy.tanh(held @ weights), weights)[0, 0]


def turns_for(seconds: float, device: Any) -> int:
    """How many turns keep the device busy for so long."""
    images = jax.device_put(np.zeros(IMAGES, np.uint8), device)
    _busy(images, 1).block_until_ready()
    took, turns = 0.0, 8
    while took < 0.02:
        turns *= 2
        began = time.perf_counter()
        _busy(images, turns).block_until_ready()
        took = time.perf_counter() - began
    return max(1, round(turns * seconds / took))


def seconds_per_step(pipeline: Pipeline[Any], turns: int, seconds: float) -> float:
    """What a step takes in a loop that starts each when the one before it is over."""
    steps, last, began = 0, None, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for batch in pipeline:
            result = _busy(batch["image"], turns)
            if last is not None:
                last.block_until_ready()
            last = result
            steps += 1
            if time.perf_counter() - began >= seconds:
                break
    jax.block_until_ready(last)
    return (time.perf_counter() - began) / steps


def photos(batches: int) -> dict[str, np.ndarray]:
    """As many records as make so many batches."""
    return {"image": np.zeros((batches * IMAGES[0], *IMAGES[1:]), np.uint8)}


def overlap_table(device: Any, data: dict[str, np.ndarray], seconds: float, steps_ms: tuple[int, ...]) -> None:
    """Print the second table."""
    depths = (0, 1, 2, 4)
    print("\n     step of   " + "".join(f"{depth:>5} ready" for depth in depths) + "   (ms a step)")
    for milliseconds in steps_ms:
        turns = turns_for(milliseconds / 1e3, device)
        cells = []
        for depth in depths:
            with Pipeline(source=data, batch_size=IMAGES[0], num_workers=2, prefetch_size=depth) as pipeline:
                seconds_per_step(pipeline, turns, 0.3)
                cells.append(seconds_per_step(pipeline, turns, seconds) * 1e3)
        print(f"{milliseconds:9} ms   " + "".join(f"{cell:11.2f}" for cell in cells))


def au_table(device: Any, data: dict[str, np.ndarray], seconds: float, step_ms: float, workers: list[int]) -> None:
    """Print the third table."""
    turns = turns_for(step_ms / 1e3, device)
    print(f"\nAU, a step of {step_ms:g} ms: ", end="")
    cells = []
    for number in workers:
        with Pipeline(source=data, batch_size=IMAGES[0], num_workers=number) as pipeline:
            seconds_per_step(pipeline, turns, 0.3)
            au = step_ms / 1e3 / seconds_per_step(pipeline, turns, seconds)
            cells.append(f"{number} workers {min(au, 1):.1%}")
    print(", ".join(cells))


def check_sums(epochs: int) -> None:
    """Print whether every record has arrived as it was."""
    number = np.arange(IMAGES[0] * 16)
    data = {"x": np.repeat(number.astype(np.int32)[:, None], 37_632, axis=1), "number": number}  # 9.6 MB a batch

    @jax.jit
    def wrong(batch: Any) -> jax.Array:
        return (batch["x"].sum(1) != batch["number"] * batch["x"].shape[1]).sum()

    with Pipeline(source=data, batch_size=IMAGES[0], num_workers=2, shuffle=True, seed=0) as pipeline:
        found = [wrong(batch) for _ in range(epochs) for batch in pipeline]
    print(f"\nchecksums: {sum(map(int, found))} of {len(found) * IMAGES[0]:,} records arrived as others")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, shorter turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--resnet-ms", type=float, default=25.0, help="a step's length for the AU")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8, 16])
    options = parser.parse_args()
    device = jax.local_devices()[0]
    print(
        f"{device.device_kind} ({device.platform}), {platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}"
    )
    sizes, steps = (SIZES[:3], (1,)) if options.quick else (SIZES, (1, 5, 20))
    transfer_table(device, sizes, options.seconds / 2, options.rounds)
    data = photos(4 if options.quick else 16)
    overlap_table(device, data, options.seconds * 2, steps)
    au_table(device, data, options.seconds * 2, options.resnet_ms, options.workers)
    check_sums(1 if options.quick else 20)


if __name__ == "__main__":
    main()
