"""What a record costs a worker that is read and written one by one, for kinds of records.

    python scripts/measure_records.py
    python scripts/measure_records.py --kinds text mask --rounds 200

A worker's runs are done in this process. The source does next to nothing: it makes a dict of what lies in arrays and
lists. Then it is timed alone, as often, and both are printed.

* *numbers*: an array of 16 float32 and a number. *text*: the same and a text. *nested*: the same in a dict within.
* *stage*: as *numbers*, through a stage that returns its record. *list*: such records in a list, as Python objects.
* *ragged*: 1 to 512 int32 tokens and a number, padded to the longest; *mask*: with a mask and lengths beside them;
  *pair*: two such fields that are padded together; *cut*: with ``truncate=True`` at 150.

How to read it: microseconds a record, medians, thread CPU time, so that others on the machine hardly count. To compare
two versions, run it with ``PYTHONPATH`` at each in turn.

Figures: ``results/measure_records-2026-11-28.txt``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _benchmark.here import microseconds, raise_it

from datarax_mp import MapElement, MemorySource, MemorySourceConfig, Pad
from datarax_mp.feed.ring_plan import plan_ring
from datarax_mp.order import Order, Shuffled
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.work import Done, Run
from datarax_mp.ring import Ring

SEED = 1
MOST_STEPS = 8  # of a run
MOST_TOKENS = 512


class Records:
    """Records that ``make`` makes of their numbers."""

    def __init__(self, count: int, make: Callable[[int], Any]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Any:
        return self._make(number)


class Kind(NamedTuple):
    """A kind of records, and what is done to them."""

    source: Any
    stages: tuple[Any, ...] = ()


def kinds(count: int) -> dict[str, Kind]:
    """By name."""
    rng = np.random.default_rng(SEED)
    rows = rng.random((count, 16), np.float32)
    lengths = np.clip(rng.lognormal(5.0, 0.6, count), 1, MOST_TOKENS).astype(int)
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends]
    tokens = rng.integers(1, 50_000, ends[-1], np.int32)

    def numbers(number: int) -> dict[str, Any]:
        return {"x": rows[number], "label": number}

    def ragged(number: int) -> dict[str, Any]:
        return {"tokens": tokens[starts[number] : ends[number]], "label": number}

    def pair(number: int) -> dict[str, Any]:
        found = tokens[starts[number] : ends[number]]
        return {"tokens": found, "again": found, "label": number}

    listed = MemorySource(MemorySourceConfig(), [{"x": row.copy(), "label": n} for n, row in enumerate(rows)])
    longest: dict[str, Any] = {"length": MOST_TOKENS, "to": "longest"}
    return {
        "numbers": Kind(Records(count, numbers)),
        "text": Kind(Records(count, lambda number: {**numbers(number), "name": "a text"})),
        "nested": Kind(Records(count, lambda number: {"of": numbers(number)})),
        "stage": Kind(Records(count, numbers), (MapElement(lambda record: record),)),
        "list": Kind(listed, (MapElement(lambda record: record),)),
        "ragged": Kind(Records(count, ragged), (Pad("tokens", **longest),)),
        "mask": Kind(Records(count, ragged), (Pad("tokens", mask="mask", lengths="length", **longest),)),
        "pair": Kind(Records(count, pair), (Pad(("tokens", "again"), **longest),)),
        "cut": Kind(Records(count, ragged), (Pad("tokens", 150, truncate=True),)),
    }


def runs_of(kind: Kind, batch_size: int) -> tuple[Callable[[], None], int]:
    """A function that does the next run of a worker, and how many records it has."""
    order = Order(Shuffled(len(kind.source)), batch_size, seed=SEED)
    executor = Executor(Recipe(kind.source, kind.stages, order, x64=False, pad=False))
    layouts = executor.probe(0)
    executor.settle(layouts)
    plan = plan_ring(
        layouts.delivered.block_bytes, workers=2, prefetch_size=2, run_steps=None, budget=None, strict=False
    )
    steps, whole = min(plan.steps, MOST_STEPS), len(kind.source) // batch_size
    ring, done = Ring(plan.slots, plan.steps * layouts.delivered.block_bytes, shared=True), 0

    def run() -> None:
        nonlocal done
        wanted = Run(0, done * steps % max(1, whole - steps), min(steps, whole), done % plan.slots)
        answer = executor.perform(wanted, ring.memory, ring.slot_bytes, raise_it)
        assert isinstance(answer, Done)
        done += 1

    return run, min(steps, whole) * batch_size


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="What a record costs a worker.")
    add = parser.add_argument
    add("--kinds", nargs="+", help="which (all)")
    add("--records", type=int, default=25_600, help="of the source (25600)")
    add("--batch-size", type=int, default=64, help="(64)")
    add("--rounds", type=int, default=100, help="runs of eight batches to take the median of (100)")
    options = parser.parse_args()
    print(f"{'µs a record':12}{'whole':>8}{'source':>8}")
    for name, kind in kinds(options.records).items():
        if options.kinds is not None and name not in options.kinds:
            continue
        run, records = runs_of(kind, options.batch_size)
        source, numbers = kind.source, np.random.default_rng(SEED).permutation(len(kind.source)).tolist()

        def read(source: Any = source, numbers: list[int] = numbers, records: int = records) -> None:
            for number in numbers[:records]:
                source[number]

        whole, alone = microseconds(run, options.rounds) / records, microseconds(read, options.rounds) / records
        print(f"{name:12}{whole:8.2f}{alone:8.2f}", flush=True)


if __name__ == "__main__":
    main()
