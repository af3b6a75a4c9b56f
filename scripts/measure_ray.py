"""What workers on other machines cost: batches per second of large and small batches, and the driver's CPU for each.

    pip install "datarax-mp[ray]" pandas pyarrow
    python scripts/measure_ray.py [--actors 2] [--seconds 3]

A cluster of raylets on this machine: one for the driver, which has no CPU to lend, and one for each actor. So every
batch goes from one object store to another by a socket, as between machines, but through this machine's memory. ``CPU``
is what the driver's process takes for a batch, all its threads together; raylets are not in it. The ways alternate, and
what is printed is the median of three.

    Two cores that others were busy on, Python 3.11, Ray 2.60, 2026-11-27:

                       batch   batches/s     MB/s   CPU us a batch
        ray actors    9.6 MB          62      600             4306
        Ray Data      9.6 MB           3       33           104622
        processes     9.6 MB         532     5106              146
        ray actors      8 kB        3312       26              101
        Ray Data        8 kB          52        0             4426
        processes       8 kB        1466       12               51

The copy into the slot is a fourth of it: with that left out, so that batches hold anything, four runs that took turns
made 98 to 106 batches/s instead of 81 to 99, for 3.0 to 3.4 ms instead of 3.9 to 4.7 (2026-11-28, an idle machine). To
lend Ray's own memory instead would gain less, as its pages would be mapped when the user reads them, and would keep the
store full for as long as he keeps a batch. The rest is Ray's, which fetches and maps the object.

What it is not worth using for: batches that this machine's cores can make. Processes put them into their slot at once.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from datarax_mp import Pipeline, RayWorkers

SIZES = {"9.6 MB": 150_000, "8 kB": 125}  # bytes of a record; a batch has 64
BATCH = 64


def decode(record: dict[str, Any]) -> dict[str, Any]:
    """As if an image had been decoded to so many bytes."""
    return {"x": np.full(int(record["size"]), record["n"] % 256, np.uint8)}


def ours(how: dict[str, Any], size: int) -> Iterator[Any]:
    """Batches of a pipeline, for ever."""
    source = {"n": np.arange(100_000), "size": np.full(100_000, size)}
    with Pipeline(
        source=source, batch_size=BATCH, stages=[decode], output="numpy", shuffle=True, seed=0, num_epochs=1000, **how
    ) as pipeline:
        yield from pipeline


def theirs(actors: int, size: int) -> Iterator[Any]:
    """Batches of Ray Data, for ever."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    def decode_block(block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"x": np.stack([np.full(size, number % 256, np.uint8) for number in block["id"]])}

    while True:
        data = ray.data.range(100_000, override_num_blocks=200)
        yield from data.map_batches(decode_block, batch_size=BATCH, concurrency=actors).iter_batches(
            batch_size=BATCH, prefetch_batches=4
        )


def measured(batches: Iterator[Any], seconds: float) -> tuple[float, float]:
    """Batches per second, and the driver's CPU seconds for one, once the first have come."""
    for _ in range(4):
        next(batches)
    wall, computed, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        next(batches)
        count += 1
    return count / (time.perf_counter() - wall), (time.process_time() - computed) / count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    head = {"num_cpus": 0, "object_store_memory": 400 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(given.actors):
        cluster.add_node(num_cpus=2, object_store_memory=400 << 20)
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    number, both = {"num_workers": given.actors}, RayWorkers(local=given.actors)
    ways: dict[str, Callable[[int], Iterator[Any]]] = {
        "ray actors": lambda size: ours({**number, "workers": "ray"}, size),
        "Ray Data": lambda size: theirs(given.actors, size),
        "processes": lambda size: ours(number, size),
        "both": lambda size: ours({"num_workers": 2 * given.actors, "workers": both}, size),
    }
    print(f"{'':12}{'batch':>8}{'batches/s':>12}{'MB/s':>9}{'CPU us a batch':>17}")
    for name, size in SIZES.items():
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way, begin in ways.items():
                batches = begin(size)
                found[way].append(measured(batches, given.seconds))
                batches.close()  # type: ignore[attr-defined]
        for way, figures in found.items():
            rate, computed = (statistics.median(each) for each in zip(*figures, strict=True))
            print(f"{way:12}{name:>8}{rate:12.0f}{rate * size * BATCH / 1e6:9.0f}{computed * 1e6:17.0f}", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
