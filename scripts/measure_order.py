"""What it costs a worker to know which records a batch has, for every kind of order, beside Grain's.

    python scripts/measure_order.py
    python scripts/measure_order.py --records 1_000_000_000 --batches 2000

An order says the records of batches of 256, one after the other, from a random place of an epoch on, as a worker asks
for them; nothing is read. "start" is what it takes to make the order, "first" the first batch that is asked for,
"batch" one of all the others (mean, and in brackets the median: some orders work out several batches at once). "shared"
are the bytes of its tables, which exist once for all workers. Grain's data sets are asked for 256 elements of a
``MapDataset.range``, one by one, as its workers do; reading such an element is no work.

How to read it: a batch costs a worker some tens of microseconds whatever the length, and no order but those with
weights, labels or lists has a table. Drawing without replacement sorts its table anew in every epoch, which is "first".

Figures: ``results/measure_order-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.order import (
    Batches,
    Choice,
    ClassBalancedSampler,
    IndexSampler,
    LengthGroups,
    Mixing,
    Sequential,
    Shuffled,
    ShuffleWindow,
    TokenBudget,
    WeightedSampler,
)

BATCH = 256
SOURCES = 35


class Cost(NamedTuple):
    """Of one order: seconds to make it and for its first batch, microseconds of the others, bytes of its tables."""

    name: str
    start: float
    first: float
    batches: list[float]
    shared: int | None


def mixture(records: int) -> Choice:
    """Sources of very different length, with weights that do not follow from it."""
    chance = random.Random(0)
    lengths = [max(1, int(records * 10 ** -chance.uniform(0, 5))) for _ in range(SOURCES)]
    weights = tuple(Fraction(chance.randint(1, 100)) for _ in range(SOURCES))
    offsets = np.cumsum([0, *lengths[:-1]]).tolist()
    names = [f"source {n}" for n in range(SOURCES)]
    return Mixing.of([Shuffled(length) for length in lengths], offsets, names, ((0, weights),), "repeat")


def orders(records: int) -> Iterator[tuple[str, Callable[[], Choice]]]:
    """Every kind, over so many records; those with tables over no more than fit into memory several times."""
    few = min(records, 10**8)
    yield "in order", lambda: Sequential(records)
    yield "shuffled", lambda: Shuffled(records)
    yield "shuffled in windows of 100,000", lambda: ShuffleWindow(records=100_000).over(records)
    yield "shuffled in windows of 64", lambda: ShuffleWindow(records=64).over(records)
    yield f"mixture of {SOURCES}", lambda: mixture(records)
    weights = np.random.default_rng(0).random(few)
    yield f"weighted, {few:,} records", lambda: WeightedSampler(weights).over(few)
    once = weights[: max(1, few // 10)]
    yield (
        f"weighted, each once, {len(once):,} records",
        lambda: WeightedSampler(once, replacement=False).over(len(once)),
    )
    labels = np.random.default_rng(0).integers(0, 1000, max(1, few // 10))
    yield f"1,000 classes equally, {len(labels):,} records", lambda: ClassBalancedSampler(labels).over(len(labels))
    numbers = np.arange(few)[::-1]
    lengths = np.random.default_rng(0).integers(1, 2048, max(1, few // 10))
    batches = Batches(BATCH, 1, False)
    plain = Shuffled(len(lengths))
    yield f"similar lengths, {len(lengths):,} records", lambda: LengthGroups(lengths).over(plain, len(lengths), batches)
    budget = lambda: TokenBudget(65_536, lengths).over(plain, len(lengths), batches)  # noqa: E731
    yield f"65,536 tokens, {len(lengths):,} records", budget
    yield f"by a list of {few:,}", lambda: IndexSampler(numbers).over(few)


def tables(value: Any, seen: set[int]) -> int:
    """Bytes of all arrays in a choice."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (tuple, list)):
        return sum(tables(item, seen) for item in value)
    slots = [getattr(value, name) for name in getattr(type(value), "__slots__", ()) if name != "_kept"]
    return sum(tables(item, seen) for item in (*getattr(value, "__dict__", {}).values(), *slots))


def timed(name: str, make: Callable[[], Any], ask: Callable[[Any, int], Any], length: int, batches: int) -> Cost:
    """Make an order and ask it for consecutive batches."""
    began = time.perf_counter()
    order = make()
    start = time.perf_counter() - began
    shared = tables(order, set()) if not name.startswith("Grain") else None
    place = random.Random(1).randrange(max(1, length - (batches + 1) * BATCH))
    took = []
    for batch in range(batches + 1):
        position = (place + batch * BATCH) % max(1, length - BATCH)
        began = time.perf_counter()
        ask(order, position)
        took.append(time.perf_counter() - began)
    return Cost(name, start, took[0], [1e6 * seconds for seconds in took[1:]], shared)


def of_ours(records: int, batches: int) -> Iterator[Cost]:
    """The costs of all orders of this package."""
    for name, make in orders(records):
        length = make().length

        def ask(order: Choice, position: int) -> Any:
            return order.at(7, 3, np.arange(position, position + BATCH))

        yield timed(name, make, ask, length, batches)


def of_grain(records: int, batches: int) -> Iterator[Cost]:
    """Those of Grain that are to be compared."""
    try:
        import grain
        from grain.experimental import WindowShuffleMapDataset
    except ImportError as error:
        print(f"Grain is left out: {error}")
        return

    def ask(dataset: Any, position: int) -> Any:
        return [dataset[number] for number in range(position, position + BATCH)]

    def mixed() -> Any:
        mixing = mixture(records)
        assert isinstance(mixing, Mixing)
        parts = [grain.MapDataset.range(part.length).shuffle(seed=7).repeat() for part in mixing.parts]
        return grain.MapDataset.mix(parts, [float(weight) for weight in mixing.schedule[0][1]])

    few = min(records, 2**31 - 1)  # Grain's permutation counts in 32 bits
    yield timed("Grain: shuffled", lambda: grain.MapDataset.range(few).shuffle(seed=7), ask, few, batches // 10)
    window = lambda: WindowShuffleMapDataset(grain.MapDataset.range(few), window_size=100_000, seed=7)  # noqa: E731
    yield timed("Grain: shuffled in windows of 100,000", window, ask, few, batches // 10)
    yield timed(f"Grain: mixture of {SOURCES}", mixed, ask, few, batches // 10)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="What it costs to know which records a batch has.")
    parser.add_argument("--records", type=int, default=10**8)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--no-grain", action="store_true")
    arguments = parser.parse_args()
    print(f"{arguments.records:,} records, batches of {BATCH}\n")
    print(f"{'':46} {'start':>9} {'first':>9} {'batch':>16} {'shared':>9}")
    for costs in (of_ours, of_grain)[: 1 if arguments.no_grain else 2]:
        for name, start, first, batches, shared in costs(arguments.records, arguments.batches):
            mean, median = statistics.mean(batches), statistics.median(batches)
            size = "" if shared is None else f"{shared / 1e6:6.1f} MB"
            print(f"{name:46} {1e3 * start:6.0f} ms {1e3 * first:6.1f} ms {mean:7.0f} ({median:3.0f}) us {size:>9}")


if __name__ == "__main__":
    main()
