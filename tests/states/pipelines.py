"""A pipeline for each kind of order; what is in here never changes, or the states in the files mean something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from datarax_mp import (
    ClassBalancedSampler,
    ConcatSource,
    Filter,
    IndexSampler,
    IterableSource,
    LengthGroups,
    MemorySource,
    MemorySourceConfig,
    MixSource,
    Pipeline,
    ShardOptions,
    ShuffleWindow,
    TokenBudget,
    WeightedSampler,
)

NUMBERS = {"n": np.arange(100)}
LENGTHS = np.arange(100) * 37 % 50 + 1


def is_even(record: dict[str, Any]) -> bool:
    return int(record["n"]) % 2 == 0


def _pipeline(**options: Any) -> Callable[[], Pipeline]:
    return lambda: Pipeline(**{"source": NUMBERS, "batch_size": 8, "seed": 7, "output": "numpy", **options})


def _shard_of_a_source() -> Pipeline:
    source = MemorySource(MemorySourceConfig(shuffle=True, shard_id=1, num_workers=3), NUMBERS, name="numbers")
    return _pipeline(source=source)()


def _mixture() -> Pipeline:
    source = MixSource({"a": {"n": np.arange(50)}, "b": {"n": np.arange(100, 130)}}, weights={"a": 3, "b": 1})
    return _pipeline(source=source, shuffle=True)()


class _Counting:
    """An iterator that says where it stands."""

    def __init__(self, first: int, step: int) -> None:
        self.first, self.step, self.at = first, step, first

    def __iter__(self) -> _Counting:
        return self

    def __next__(self) -> dict[str, int]:
        if self.at >= 100:
            raise StopIteration
        self.at += self.step
        return {"n": self.at - self.step}

    def get_state(self) -> dict[str, int]:
        return {"at": self.at}

    def set_state(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def _counted(lane: int, lanes: int) -> Iterator[dict[str, int]]:
    return iter([{"n": n} for n in range(lane, 100, lanes)])


KINDS: dict[str, Callable[[], Pipeline]] = {
    "in-order": _pipeline(),
    "lanes": _pipeline(source=IterableSource(_counted, lanes=3)),
    "lanes-that-know": _pipeline(source=IterableSource(_Counting, lanes=3), shuffle=ShuffleWindow(records=11)),
    "shuffled": _pipeline(shuffle=True),
    "drop-last": _pipeline(shuffle=True, drop_last=True),
    "shard": _pipeline(shuffle=True, shard=ShardOptions(1, 2), pad_last=True),
    "shard-of-a-source": _shard_of_a_source,
    "window": _pipeline(shuffle=ShuffleWindow(records=30)),
    "weighted": _pipeline(sampler=WeightedSampler(np.arange(100) + 1.0, replacement=True)),
    "weighted-once": _pipeline(sampler=WeightedSampler(np.arange(100) + 1.0, replacement=False)),
    "balanced": _pipeline(sampler=ClassBalancedSampler(np.arange(100) % 3)),
    "listed": _pipeline(sampler=IndexSampler(np.arange(0, 100, 3))),
    "mixture": _mixture,
    "concat": lambda: _pipeline(source=ConcatSource([{"n": np.arange(60)}, {"n": np.arange(60, 90)}]), shuffle=True)(),
    "lengths": _pipeline(batch_by=LengthGroups(LENGTHS), shuffle=True),
    "tokens": _pipeline(batch_by=TokenBudget(100, LENGTHS), shuffle=True),
    "filter": _pipeline(stages=[Filter(is_even)], shuffle=True),
    "elements": _pipeline(enforce_batch=False, shuffle=True),
}

ELASTIC = ("in-order", "shuffled", "window", "mixture")  # of which there is a state that was entered elastically, too
