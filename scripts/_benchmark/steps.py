"""Training steps for the loaders to feed: an emulated one on an accelerator, and a real one on the CPU."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

LEAST_STEPS = 20
IDLE_SECONDS = 1.0  # after which workers have filled what they may fill, and wait
SIDE = 512  # of the matrices that are multiplied

Train = Callable[[dict[str, Any]], None]


def utilisation(
    take: Callable[[], Any], step: float, seconds: float, ahead: int, meanwhile: Callable[[], None]
) -> float:
    """MLPerf Storage's AU, busy / (busy + waiting), of a device that is busy for ``step`` seconds a batch.

    Args:
        take: gives the next batch.
        step: seconds.
        seconds: how long to measure.
        ahead: steps that the host may be ahead of the device; with 0 it waits for each.
        meanwhile: what the host does when it has started a step.
    """
    for _ in range(5):
        take()
    busy, count = 0.0, 0
    queued: deque[tuple[float, Any]] = deque()  # when each step ends, and the batch that it looks at
    done = now = began = time.perf_counter()  # when the device has nothing more to do
    while now - began < seconds or count < LEAST_STEPS:
        batch = take()
        done = max(done, time.perf_counter()) + step
        queued.append((done, batch))
        del batch
        busy, count = busy + step, count + 1
        meanwhile()
        while len(queued) > ahead:
            time.sleep(max(0.0, queued[0][0] - time.perf_counter()))
            queued.popleft()
        now = time.perf_counter()
        if not queued:  # it slept longer than it should, which is nobody's fault
            busy, done = busy + now - done, now
    return busy / (done - began)


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
