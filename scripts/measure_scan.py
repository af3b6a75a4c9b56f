"""Steps per second of a small network: a loop over batches, and ``Pipeline.scan``.

    python scripts/measure_scan.py

A 16x32x2 network is trained by Adam on shuffled batches of 128 rows, of which two worker processes make one while the
step before is at work. A step is so short that a loop is bound by what Python and JAX need to start it. Three ways:

    nnx.jit      ``for batch in pipeline: loss = step(model, optimizer, batch)``, the step under ``nnx.jit``
    jax.jit      the same with the modules split once, and the step under ``jax.jit`` on their state: as quick as a loop
                 gets
    scan         ``pipeline.scan(step, length=..., modules=(model, optimizer))``

The ways take turns, each for so many steps at a time; each number is the median over rounds of steps per second, with
the CPU seconds of this process for each 1,000 steps. The losses of all three are compared bit by bit.

Dense layers only: XLA's CPU backend is some 20 times slower at convolutions inside a loop than outside of one.

How to read it: where a step takes as long as a batch takes to make, ``scan`` gains nothing; it takes away what is
between the steps.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from datarax_mp import Pipeline

ROWS, BATCHES = 128, 2_000

Way = Callable[[int], np.ndarray]


class Net(nnx.Module):
    """16 features, 32 hidden units, 2 classes."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(16, 32, rngs=rngs)
        self.out = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits."""
        return self.out(nnx.relu(self.hidden(x)))


def train(net: Net, optimizer: nnx.Optimizer, batch: Any) -> jax.Array:
    """One step; the loss before it."""

    def loss_of(net: Net) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net(batch["x"]), batch["y"]).mean()

    loss, grads = nnx.value_and_grad(loss_of)(net)
    optimizer.update(net, grads)
    return loss


def modules() -> tuple[Net, nnx.Optimizer]:
    """A network and its optimizer, the same for every way."""
    net = Net(nnx.Rngs(0))
    return net, nnx.Optimizer(net, optax.adam(1e-3), wrt=nnx.Param)


def forever(pipeline: Pipeline[Any]) -> Iterator[Any]:
    """Batches of one epoch after the other."""
    while True:
        yield from pipeline


def by_nnx(pipeline: Pipeline[Any]) -> Way:
    """A loop with ``nnx.jit``."""
    batches, step, parts = forever(pipeline), nnx.jit(train), modules()
    return lambda steps: np.array([step(*parts, next(batches)) for _ in range(steps)])


def by_jax(pipeline: Pipeline[Any]) -> Way:
    """A loop with ``jax.jit`` on the modules' state."""
    batches = forever(pipeline)
    graph, state = nnx.split(modules())

    @jax.jit
    def step(state: Any, batch: Any) -> Any:
        net, optimizer = nnx.merge(graph, state)
        loss = train(net, optimizer, batch)
        return nnx.state((net, optimizer)), loss

    def run(steps: int) -> np.ndarray:
        nonlocal state
        losses = []
        for _ in range(steps):
            state, loss = step(state, next(batches))
            losses.append(loss)
        return np.array(losses)

    return run


def by_scan(pipeline: Pipeline[Any]) -> Way:
    """``Pipeline.scan``."""
    parts = modules()
    return lambda steps: np.asarray(pipeline.scan(train, length=steps, modules=parts))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2_000, help="that a way takes in its turn")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = ROWS * BATCHES
    data = {"x": rng.normal(size=(rows, 16)).astype(np.float32), "y": rng.integers(0, 2, rows).astype(np.int32)}
    pipelines = [
        Pipeline(source=data, batch_size=ROWS, shuffle=True, seed=0, num_workers=options.workers) for _ in range(3)
    ]
    makers = {"nnx.jit": by_nnx, "jax.jit": by_jax, "scan": by_scan}
    ways = {name: make(pipeline) for (name, make), pipeline in zip(makers.items(), pipelines, strict=True)}
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    equal = True
    for turn in range(options.rounds + 1):
        losses = []
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            losses.append(way(options.steps))
            if turn:  # the first one compiles
                took = time.perf_counter() - wall, time.process_time() - cpu
                speeds[name].append((options.steps / took[0], took[1] * 1_000 / options.steps))
        equal = equal and all(np.array_equal(other, losses[0]) for other in losses)
    for pipeline in pipelines:
        pipeline.close()
    print(f"{platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, {options.workers} workers")
    print(f"{'':10}{'steps/s':>12}{'CPU s per 1,000 steps':>26}")
    for name, found in speeds.items():
        rate, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:10}{rate:12,.0f}{cpu:26.3f}")
    print(f"losses bit-equal: {equal}")


if __name__ == "__main__":
    main()
