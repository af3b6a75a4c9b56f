"""One measurement, in a process of its own.

It tells its parent how far it is, by a line of JSON for each event:

    open        the data is made and everything imported; the loader is about to be made
    warm        what the loader may have made ahead is consumed; the measurement begins
    measured    it is over
    result      the figures, or
    error       what went wrong

Only the current batch is kept while the next is waited for, and the work's data by the loader alone.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from _benchmark import limits, steps
from _benchmark.processes import Family
from _benchmark.systems import Loader, System, systems
from _benchmark.workloads import WORKLOADS, Work

WARM_SECONDS = 0.3  # the least that a warm-up takes
EPOCHS = 5  # of the check
PAGE = 4096

Batch = dict[str, Any]
Take = Callable[[Any], Batch]


class Reporter:
    """Writes events where standard output was; what anybody prints goes to standard error."""

    def __init__(self) -> None:
        self.pipe = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __call__(self, event: str, result: Any = None) -> None:
        print(json.dumps({"event": event, "result": result}), file=self.pipe, flush=True)


def main(spec: dict[str, Any]) -> None:
    """Measure what ``spec`` says: the mode, the workload, and for most modes the system and its workers."""
    report = Reporter()
    try:
        report("result", measure(spec, report))
    except Exception as error:
        report("error", f"{type(error).__name__}: {error}")
        traceback.print_exc()
    # Peers' threads and queues may keep the interpreter from ending, and there is nothing left to do.
    sys.stderr.flush()
    os._exit(0)


def measure(spec: dict[str, Any], report: Reporter) -> dict[str, Any]:
    """The figures of one mode."""
    if spec["mode"] == "limit":
        report("warm")
        return limits.limit(make(spec), spec["seconds"])
    system = next(found for found in systems(spec["count"], sweep=True) if found.label == spec["system"])
    return {"rate": rate, "check": check, "au": au, "step": step}[spec["mode"]](spec, system, report)


def make(spec: dict[str, Any], *, short: bool = False) -> Work:
    """The work with its data."""
    folder = Path(spec["folder"]) if spec["folder"] else None
    return WORKLOADS[spec["workload"]].make(Path(spec["scratch"]), folder, short=short)


class Opened:
    """A loader with its first batch on the device, and everything that follows, epoch after epoch.

    Attributes:
        cold: seconds from making the loader to having the first batch on the device.
        first: the first batch.
    """

    def __init__(self, spec: dict[str, Any], system: System, report: Reporter, *, short: bool = False) -> None:
        work = [make(spec, short=short)]
        self.load, self.system, self.fields = work[0].load, system, work[0].load.fields
        for name in ("jax", *system.imports):
            import_module(name)
        if not system.forks:  # who forks does so before JAX's threads exist
            _start_jax(system)
        gc.collect()
        report("open")
        began = time.perf_counter()
        self.loader: Loader = system.open(work.pop(), system.workers)
        iterator = iter(self.loader)
        first = next(iterator)
        self.cold = time.perf_counter() - began
        _start_jax(system)
        self.take = taker(system, self.fields)
        began = time.perf_counter()
        self.first = self.take(first)
        self.cold += time.perf_counter() - began
        del first
        self.iterator: Iterator[Any] = iterator

    def next(self) -> Batch:
        """The next batch, on the device."""
        try:
            return self.take(next(self.iterator))
        except StopIteration:
            self.iterator = iter(self.loader)
            return self.take(next(self.iterator))

    def prefetch(self) -> None:
        """Have the iterator work ahead, if it can be told to."""
        if hasattr(self.iterator, "start_prefetch"):
            self.iterator.start_prefetch()

    def warm_up(self) -> None:
        """Consume what may be made ahead, and two batches more."""
        began = time.perf_counter()
        for number in itertools.count(1):
            self.next()
            if number >= self.system.workers * self.system.slots + 2 and time.perf_counter() - began > WARM_SECONDS:
                return

    def close(self) -> None:
        """End the loader."""
        self.iterator = iter(())
        self.loader.close()


def taker(system: System, fields: tuple[str, ...]) -> Take:
    """What brings a loader's batch to the device and waits for it, or reads it where it stays in host memory."""
    import jax  # delayed: the limits are measured without it

    if system.bring == "none":
        return lambda batch: jax.block_until_ready({name: batch[name] for name in fields})
    if system.bring == "numpy":
        return lambda batch: {name: _read(batch[name]) for name in fields}
    if system.bring == "device_put":
        return lambda batch: jax.block_until_ready(jax.device_put(batch))
    identity = jax.jit(lambda *arrays: arrays)

    def through_identity(batch: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(fields, jax.block_until_ready(identity(*[batch[name] for name in fields])), strict=True))

    return through_identity


def _read(array: np.ndarray) -> np.ndarray:
    """A byte of every page."""
    array.reshape(-1).view(np.uint8)[::PAGE].max()
    return array


def _start_jax(system: System) -> None:
    if system.bring != "numpy":
        import jax  # delayed, as above

        jax.block_until_ready(jax.device_put(0))


def rate(spec: dict[str, Any], system: System, report: Reporter) -> dict[str, Any]:
    """Batches per second, waits in µs, CPU seconds, and seconds to the first batch."""
    opened = Opened(spec, system, report)
    load, family = opened.load, Family(os.getpid())
    fixed = None if load.pad else _size(opened.first)
    opened.first = {}
    opened.warm_up()
    report("warm")
    waits: list[float] = []
    size, cpu = 0, family.cpu_seconds()
    now = began = time.perf_counter()
    while now - began < spec["seconds"]:
        for _ in range(load.cycle):
            before = time.perf_counter()
            batch = opened.next()
            waits.append(time.perf_counter() - before)
            if fixed is None:
                size += _size(batch)
        now = time.perf_counter()
    elapsed, cpu = now - began, family.cpu_seconds() - cpu
    report("measured")
    batch = {}
    opened.close()
    p50, p99 = np.percentile(waits, [50, 99]) * 1e6
    return {
        "batches_per_s": len(waits) / elapsed,
        "bytes_per_s": (size if fixed is None else fixed * len(waits)) / elapsed,
        "wait_p50_us": p50,
        "wait_p99_us": p99,
        "cpu_s": cpu,
        "seconds": elapsed,
        "cold_s": opened.cold,
    }


def _size(batch: dict[str, Any]) -> int:
    return sum(array.nbytes for array in batch.values())


def check(spec: dict[str, Any], system: System, report: Reporter) -> dict[str, Any]:
    """Some short epochs, every byte compared with what the work says; seconds to the first batch of all but the first.

    Raises:
        AssertionError: a record is missing or comes twice, or an array differs in shape, dtype or bytes.
    """
    expected = make(spec, short=True)
    opened = Opened(spec, system, report, short=True)
    report("warm")
    warm: list[float] = []
    first = [opened.first]
    opened.first = {}
    _check_epoch(expected, itertools.chain(_emptied(first), map(opened.take, opened.iterator)))
    for _ in range(1, EPOCHS):
        began = time.perf_counter()
        iterator = iter(opened.loader)
        first = [opened.take(next(iterator))]
        warm.append(time.perf_counter() - began)
        _check_epoch(expected, itertools.chain(_emptied(first), map(opened.take, iterator)))
        del iterator
    report("measured")
    opened.close()
    return {"warm_s": statistics.median(warm), "epochs": EPOCHS, "batches": expected.batches}


def _emptied(batches: list[Batch]) -> Iterator[Batch]:
    """The batches of a list, which does not keep them: SPDL's pool waits for segments that are looked at."""
    while batches:
        yield batches.pop()


def _check_epoch(work: Work, batches: Iterator[Batch]) -> None:
    """Compare batch by batch, and keep only the record numbers."""
    found = []
    for batch in batches:
        label = np.array(batch["label"])
        found.append(label)
        for name, array in work.batch(label).items():
            there = np.asarray(batch[name])
            assert there.dtype == array.dtype, f"{name} is {there.dtype} instead of {array.dtype}"
            assert there.shape == array.shape, f"{name} has the shape {there.shape} instead of {array.shape}"
            assert there.tobytes() == array.tobytes(), f"{name} has other bytes than records {label} have"
        del batch, there
    numbers = np.concatenate(found)
    assert len(found) == work.batches, f"an epoch has {len(found)} batches instead of {work.batches}"
    assert np.array_equal(np.sort(numbers), np.arange(len(work))), "an epoch has not every record once"
    assert not work.load.shuffle or not np.array_equal(numbers, np.arange(len(work))), "the order is no permutation"


def au(spec: dict[str, Any], system: System, report: Reporter) -> dict[str, Any]:
    """The utilisation that an emulated accelerator has, for each length of a step."""
    opened = Opened(spec, system, report)
    opened.first = {}
    opened.warm_up()
    report("warm")
    use = partial(steps.utilisation, opened.next, seconds=spec["seconds"], ahead=spec["ahead"])
    meanwhile = opened.prefetch if spec["prefetch"] else lambda: None
    found = {str(length): use(length / 1e3, meanwhile=meanwhile) for length in spec["steps"]}
    report("measured")
    opened.close()
    return {"au": found}


def step(spec: dict[str, Any], system: System, report: Reporter) -> dict[str, Any]:
    """What a step on the CPU takes alone, and beside the loader that feeds it."""
    opened = Opened(spec, system, report)
    batch = _copied(opened.first)
    opened.first = {}
    train = steps.make_step(batch, spec["steps"][0] / 1e3)
    alone = steps.alone(train, batch, spec["seconds"])
    opened.warm_up()
    report("warm")
    fed = steps.fed(train, opened.next, spec["seconds"])
    report("measured")
    opened.close()
    return {"alone_s": alone, "again_s": steps.alone(train, batch, spec["seconds"]), **fed}


def _copied(batch: Batch) -> Batch:
    """A copy of one's own, for SPDL's pool waits for segments that are looked at."""
    import jax  # delayed, as above

    copies = {name: np.array(array) for name, array in batch.items()}
    on_host = all(isinstance(array, np.ndarray) for array in batch.values())
    return copies if on_host else jax.block_until_ready(jax.device_put(copies))
