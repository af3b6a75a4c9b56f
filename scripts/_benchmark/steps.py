"""Training steps for the loaders to feed: an emulated one on an accelerator, and a real one on the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

LEAST_STEPS = 20
IDLE_SECONDS = 1.0  # after which workers have filled what they may fill, and wait
SIDE = 512  # of the matrices that are multiplied

Train = Callable[[dict[str, Any]], None]


def utilisation(take: Callable[[], Any], step: float, seconds: float) -> float:
    """MLPerf Storage's AU, busy / (busy + waiting), of a device that is busy for ``step`` seconds a batch.

    The host has nothing to do meanwhile: it sleeps. The time that it really slept counts as busy.
    """
    for _ in range(5):
        take()
    busy, count = 0.0, 0
    now = began = time.perf_counter()
    while now - began < seconds or count < LEAST_STEPS:
        batch = take()
        before = time.perf_counter()
        time.sleep(step)
        now = time.perf_counter()
        busy += now - before
        count += 1
    del batch
    return busy / (now - began)


def make_step(batch: dict[str, Any], seconds: float) -> Train:
    """A jitted step that looks at the batch and multiplies matrices for so long, alone on this machine."""
    import jax  # delayed: the measuring process needs no JAX
    import jax.numpy as jnp

    weights = jax.random.normal(jax.random.key(0), (SIDE, SIDE)) / SIDE**0.5

    @jax.jit
    def work(batch: dict[str, Any], times: int) -> Any:
        start = sum(array.ravel()[0].astype(jnp.float32) for array in jax.tree.leaves(batch))
        return jax.lax.fori_loop(0, times, lambda _, x: jnp.tanh(x @ weights), weights + start * 1e-6).sum()

    def run(batch: dict[str, Any], times: int) -> None:
        work(batch, times).block_until_ready()

    run(batch, 1)
    one = min(_time(lambda: run(batch, 10)) for _ in range(5)) / 10
    times = max(1, round(seconds / one))
    return lambda batch: run(batch, times)


def alone(train: Train, batch: dict[str, Any], seconds: float) -> float:
    """The median seconds of a step over the same batch again and again, while nothing else goes on."""
    time.sleep(IDLE_SECONDS)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < LEAST_STEPS:
        taken.append(_time(lambda: train(batch)))
    return statistics.median(taken)


def fed(train: Train, take: Callable[[], dict[str, Any]], seconds: float) -> dict[str, float]:
    """Median seconds of a step whose batches come from a loader, and the mean of the whole loop."""
    taken: list[float] = []
    now = began = time.perf_counter()
    while now - began < seconds or len(taken) < LEAST_STEPS:
        batch = take()
        taken.append(_time(lambda batch=batch: train(batch)))
        now = time.perf_counter()
    return {"fed_s": statistics.median(taken), "loop_s": (now - began) / len(taken)}


def _time(function: Callable[[], Any]) -> float:
    before = time.perf_counter()
    function()
    return time.perf_counter() - before
