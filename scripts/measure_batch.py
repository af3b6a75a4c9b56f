"""What a Batch costs its consumer, beside the budgets of the design.

A Batch is made once per step, while the device waits. Measured are: making one as a pipeline does, reading a field, and
what a jitted function takes longer when it is given the Batch instead of the plain dict of the same arrays. An ordinary
``nnx.Module`` with three ``nnx.Variable``s stands beside it, to show what the lazy Batch is for.

    python scripts/measure_batch.py

How to read it: each number is the median over rounds of the round's median (or of the mean of a short loop where one
call is shorter than the clock's tick), so that it holds for a quiet moment on a noisy machine. Calls of the jitted
function with the dict, the Batch and the Module take turns, and every call gets an object that has not been flattened
before. "within" compares with the budget; rows without a budget are there for comparison.

Figures: ``results/measure_batch-2026-11-24.txt``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import nnx

from datarax_mp.core.element_batch import Batch, make_batch
from datarax_mp.delivery.description import batch_metadata
from datarax_mp.order import Epoch, Order, Shuffled

ROWS = 64
LOOP = 200

Row = tuple[str, float, float | None]


class Ordinary(nnx.Module):
    """A batch as one would write it by hand."""

    def __init__(self, data: dict[str, Any], mask: jax.Array) -> None:
        self.data = nnx.Variable(data)
        self.states = nnx.Variable({})
        self.valid_mask = nnx.Variable(mask)

    def __getitem__(self, name: str) -> Any:
        return self.data.get_value()[name]


def microseconds(call: Callable[[], Any], loop: int = LOOP) -> float:
    """The mean time of one call in a short loop, without the loop's own time."""
    numbers = range(loop)
    began = time.perf_counter()
    for _ in numbers:
        pass
    empty = time.perf_counter() - began
    began = time.perf_counter()
    for _ in numbers:
        call()
    return (time.perf_counter() - began - empty) / loop * 1e6


def first_time(make: Callable[[], Any], look: Callable[[Any], Any]) -> float:
    """The median time, in µs, of looking at something for the first time."""
    times = []
    for _ in range(LOOP // 4):
        batch = make()
        began = time.perf_counter()
        look(batch)
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def call_times(function: Callable[[Any], Any], makers: Sequence[Callable[[], Any]]) -> list[float]:
    """The median time in the calling thread of one call, in µs, for each kind of argument; the kinds take turns."""
    arguments = [[make() for _ in range(LOOP)] for make in makers]
    for kind in arguments:
        jax.block_until_ready(function(kind.pop()))
    times: list[list[float]] = [[] for _ in makers]
    for turn in zip(*arguments, strict=True):
        for place, argument in enumerate(turn):
            began = time.perf_counter()
            result = function(argument)
            times[place].append((time.perf_counter() - began) * 1e6)
            result.block_until_ready()
    return [statistics.median(found) for found in times]


def step(batch: Any) -> jax.Array:
    """As good as no work, so that a call's time is what it costs to hand the batch over."""
    return batch["label"][0] + batch["image"][0, 0, 0, 0]


jax_function, nnx_function = jax.jit(step), nnx.jit(step)


def one_round(data: dict[str, jax.Array], mask: jax.Array) -> list[Row]:
    """Every measurement once."""
    epoch = Epoch(Order(Shuffled(10 * ROWS), ROWS), 0)

    def make() -> Batch:
        return make_batch(data, ROWS, partial(batch_metadata, epoch, 3, (), ROWS, None, None))

    def make_and_look() -> Batch:
        batch = make()
        assert isinstance(batch.data, nnx.Variable)
        return batch

    def ordinary() -> Ordinary:
        return Ordinary(data, mask)

    batch, looked_at = make(), make_and_look()
    with_dict, with_batch, with_looked_at, with_module = call_times(
        jax_function, [lambda: dict(data), make, make_and_look, ordinary]
    )
    nnx_dict, nnx_batch, nnx_module = call_times(nnx_function, [lambda: dict(data), make, ordinary])
    return [
        ("make a Batch, as a pipeline does", microseconds(make), 10),
        ('batch["image"]', microseconds(lambda: batch["image"]), 1),
        ('batch["image"] once batch.data was looked at', microseconds(lambda: looked_at["image"]), 1),
        ("jitted call: Batch less dict", with_batch - with_dict, 15),
        ("jitted call: Batch looked at less dict", with_looked_at - with_dict, 15),
        ("jitted call with the dict", with_dict, None),
        ("first look at batch.data", first_time(make, attrgetter("data")), None),
        (f"first look at batch.metadata ({ROWS} elements)", first_time(make, attrgetter("metadata")), None),
        ("make an nnx.Module with three Variables", microseconds(ordinary, LOOP // 4), None),
        ("jitted call: that Module less dict", with_module - with_dict, None),
        ("nnx.jit call with the dict", nnx_dict, None),
        ("nnx.jit call: Batch less dict", nnx_batch - nnx_dict, None),
        ("nnx.jit call: that Module less dict", nnx_module - nnx_dict, None),
    ]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="What a Batch costs, beside its budgets.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds to take the median over (default: 15)")
    rounds = parser.parse_args().rounds

    data = {"image": jnp.zeros((ROWS, 32, 32, 3), jnp.uint8), "label": jnp.zeros(ROWS, jnp.int32)}
    mask = jnp.ones(ROWS, bool)
    one_round(data, mask)  # warm-up: imports, caches, compilation
    results = [one_round(data, mask) for _ in range(rounds)]

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, ", end="")
    print(f"jax {jax.__version__} ({jax.default_backend()}), flax {flax.__version__}; medians of {rounds} rounds\n")
    print(f"{'what':45} | measured µs | budget µs | within")
    print(f"{'-' * 45} | ----------: | --------: | ------")
    for rows in zip(*results, strict=True):
        what, _, budget = rows[0]
        measured = statistics.median(row[1] for row in rows)
        verdict = "" if budget is None else "yes" if measured <= budget else "NO"
        print(f"{what:45} | {measured:11.2f} | {'' if budget is None else budget:>9} | {verdict}")


if __name__ == "__main__":
    main()
