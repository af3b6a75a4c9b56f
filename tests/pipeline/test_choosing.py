"""Every way to say which records an epoch has, in real pipelines: one test asks of all what all promise."""

from __future__ import annotations

import itertools
import json
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import (
    ClassBalancedSampler,
    ConcatSource,
    Filter,
    FlatMap,
    IndexSampler,
    LengthGroups,
    MemorySource,
    MemorySourceConfig,
    MixSource,
    PackedSource,
    Pad,
    Pipeline,
    ShardOptions,
    ShuffleWindow,
    SubsetSource,
    TokenBudget,
    WeightedSampler,
    WindowSource,
)
from datarax_mp.sources.blocks import BlockSource

RECORDS = 60

LENGTHS = np.arange(RECORDS) % 13

WEIGHTS = np.arange(RECORDS) % 5 + 0.5


def plain() -> Any:
    return {"x": np.arange(RECORDS)}


def mixed(**more: Any) -> Any:
    parts = {"a": {"x": np.arange(10)}, "b": [{"x": n} for n in range(10, 30)], "c": {"x": np.arange(30, RECORDS)}}
    return MixSource(parts, {"a": 3, "b": 1, "c": 2}, **more)


def odd(record: dict[str, Any]) -> bool:
    return bool(record["x"] % 3)


def three(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [record] * (record["x"] % 4)


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "in order": lambda: {"source": plain()},
    "shuffled": lambda: {"source": plain(), "shuffle": True},
    "filtered": lambda: {"source": plain(), "shuffle": True, "stages": [Filter(odd)]},
    "in windows": lambda: {"source": plain(), "shuffle": ShuffleWindow(records=13)},
    "items": lambda: {"source": plain(), "shuffle": True, "stages": [FlatMap(three, most=3)]},
    "items in windows, filtered": lambda: {
        "source": plain(),
        "shuffle": ShuffleWindow(records=7),
        "stages": [Filter(odd), FlatMap(three, most=3)],
    },
    "in windows, filtered": lambda: {"source": plain(), "shuffle": ShuffleWindow(records=7), "stages": [Filter(odd)]},
    "weighted": lambda: {"source": plain(), "sampler": WeightedSampler(WEIGHTS)},
    "weighted, filtered": lambda: {"source": plain(), "sampler": WeightedSampler(WEIGHTS), "stages": [Filter(odd)]},
    "weighted once": lambda: {"source": plain(), "sampler": WeightedSampler(WEIGHTS, replacement=False)},
    "weighted by epoch": lambda: {"source": plain(), "sampler": WeightedSampler(lambda epoch: WEIGHTS + epoch)},
    "balanced": lambda: {"source": plain(), "sampler": ClassBalancedSampler(np.arange(RECORDS) ** 2 % 11)},
    "listed": lambda: {"source": plain(), "sampler": IndexSampler(np.arange(RECORDS)[::-2])},
    "listed, filtered": lambda: {"source": plain(), "sampler": IndexSampler([1, 3, 4, 1]), "stages": [Filter(odd)]},
    "listed by epoch": lambda: {
        "source": plain(),
        "sampler": IndexSampler(lambda epoch: np.roll(np.arange(RECORDS), epoch)),
    },
    "by length": lambda: {"source": plain(), "shuffle": True, "batch_by": LengthGroups(WEIGHTS, batches=3)},
    "of a budget": lambda: {
        "source": plain(),
        "shuffle": True,
        "batch_by": TokenBudget(40, LENGTHS, bounds=[4, 6, 12]),
    },
    "of a budget, filtered": lambda: {
        "source": plain(),
        "batch_by": TokenBudget(40, LENGTHS, bounds=[4, 12]),
        "stages": [Filter(odd)],
    },
    "mixed": lambda: {"source": mixed(), "shuffle": True},
    "mixed, a schedule": lambda: {"source": mixed(schedule=[(33, [1, 1, 1])]), "shuffle": True},
    "mixed to the first end": lambda: {"source": mixed(stop="first"), "shuffle": True},
    "mixed to the last end": lambda: {"source": mixed(stop="last"), "shuffle": True},
    "mixed, filtered": lambda: {"source": mixed(), "shuffle": True, "stages": [Filter(odd)]},
    "mixed, by length": lambda: {"source": mixed(), "shuffle": True, "batch_by": LengthGroups(WEIGHTS, batches=3)},
    "a mixture of mixtures": lambda: {"source": MixSource([mixed(tag=None), plain()], [1, 2]), "shuffle": True},
    "concatenated": lambda: {"source": ConcatSource([plain(), plain()]), "shuffle": True},
    "a subset": lambda: {"source": SubsetSource(plain(), range(3, 50, 2)), "shuffle": True},
    "moving windows": lambda: {"source": WindowSource(plain(), 4, random_offset=True), "shuffle": True},
}


class InBlocks(BlockSource):
    """The same in blocks of unequal sizes, one of them empty."""

    blocks = (7, 0, 13, 1, 20, 4, 9, 6)

    def read_block(self, number: int) -> dict[str, Any]:
        end = sum(self.blocks[: number + 1])
        return {"x": np.arange(end - self.blocks[number], end)}


KINDS |= {
    "in blocks, in order": lambda: {"source": InBlocks()},
    "in blocks": lambda: {"source": InBlocks(), "shuffle": ShuffleWindow(blocks=3, hosts=1)},
    "in blocks, far apart": lambda: {"source": InBlocks(), "shuffle": ShuffleWindow(blocks=100, hosts=1)},
    "in blocks, filtered": lambda: {
        "source": InBlocks(),
        "shuffle": ShuffleWindow(blocks=2, hosts=1),
        "stages": [Filter(odd)],
    },
    "in blocks, items": lambda: {
        "source": InBlocks(),
        "shuffle": ShuffleWindow(blocks=2, hosts=1),
        "stages": [FlatMap(three, most=3)],
    },
    "in blocks, by length": lambda: {
        "source": InBlocks(),
        "shuffle": ShuffleWindow(blocks=3),
        "batch_by": LengthGroups(WEIGHTS, batches=3),
    },
    "in blocks, of a budget": lambda: {"source": InBlocks(), "batch_by": TokenBudget(40, LENGTHS, bounds=[4, 12])},
    "in blocks, of a budget, filtered": lambda: {
        "source": InBlocks(),
        "batch_by": TokenBudget(40, LENGTHS, bounds=[4, 12]),
        "stages": [Filter(odd)],
    },
    "in blocks, of a budget, shuffled": lambda: {
        "source": SubsetSource(InBlocks(), range(RECORDS)),
        "shuffle": True,
        "batch_by": TokenBudget(40, LENGTHS),
    },
    "in blocks, moved by records": lambda: {"source": InBlocks(), "shuffle": ShuffleWindow(records=13)},
    "in blocks, drawn": lambda: {"source": InBlocks(), "sampler": WeightedSampler(WEIGHTS)},
    "in blocks, mixed": lambda: {"source": MixSource([InBlocks(), plain()], [1, 2]), "shuffle": True},
}

NO_CHOICE = ("shuffled", "filtered", "items", "concatenated", "a subset")  # every record once, shuffled

# With another batch size or number of hosts, a budget makes other groups.
groups_alike = pytest.mark.parametrize("kind", [kind for kind in KINDS if "budget" not in kind])

kinds = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, **more: Any) -> Pipeline:
    return Pipeline(**{"batch_size": 7, "output": "numpy", "seed": 11, **KINDS[kind](), **more})


def batches(pipeline: Any) -> list[list[Any]]:
    return [batch["x"].tolist() for batch in pipeline]


def flat(found: list[list[Any]]) -> list[Any]:
    return [x for batch in found for x in batch]


@kinds
def test_the_stream_is_the_same_for_every_number_of_workers(kind: str) -> None:
    streams = []
    for workers in (0, 1, 3):
        with make(kind, num_workers=workers) as pipeline:
            streams.append([batches(pipeline) for _ in range(2)])
            assert len(streams[-1][0]) == len(streams[-1][1]) == len(pipeline)
    assert streams[0] == streams[1] == streams[2]


@kinds
def test_a_run_goes_on_at_every_step_where_it_stopped(kind: str) -> None:
    with make(kind) as pipeline:
        batches(pipeline)
        states, expected = [pipeline.get_state()], []
        for batch in pipeline:
            expected.append(batch["x"].tolist())
            states.append(json.loads(json.dumps(pipeline.get_state())))
        following = batches(pipeline)
    with make(kind) as pipeline:
        for done, state in enumerate(states):
            assert len(json.dumps(state)) < 2000
            pipeline.set_state(state)
            assert batches(pipeline) == expected[done:]
        assert batches(pipeline) == following


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if "budget" not in kind]
)  # one batch is no k of k-th the tokens
@pytest.mark.parametrize("count", [2, 3])
def test_global_arrays_side_by_side_are_one_pipeline(kind: str, count: int) -> None:
    with make(kind, batch_size=4 * count) as pipeline:
        expected = flat(batches(pipeline))
    hosts = []
    for index in range(count):
        with make(kind, batch_size=4, shard=ShardOptions(index, count), pad_last=True) as pipeline:
            hosts.append([batch["x"][batch.valid_mask].tolist() for batch in pipeline])
    assert flat([flat(list(step)) for step in zip(*hosts, strict=True)]) == expected


@groups_alike
def test_another_batch_size_goes_on_from_the_same_record(kind: str) -> None:
    more = {"batch_by": LengthGroups(WEIGHTS, batches=3, rows=7)} if "by length" in kind else {}
    with make(kind, **more) as pipeline:
        expected = flat(batches(pipeline))
    with make(kind, **more) as pipeline:
        received = flat(batches(itertools.islice(iter(pipeline), 2))) if len(expected) > 14 else []
        state = pipeline.get_state()
    with make(kind, batch_size=5, seed=0, num_workers=1, **more) as pipeline:
        pipeline.set_state(state, elastic=True)
        assert received + flat(batches(pipeline)) == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NO_CHOICE])
def test_a_state_of_another_order_is_an_error(kind: str) -> None:
    with make("shuffled") as pipeline:
        state = pipeline.get_state()
    with make(kind) as pipeline, pytest.raises(ValueError, match="choice: the state has None|shuffle: the state has"):
        pipeline.set_state(state, elastic=True)


def budgeted(**more: Any) -> Pipeline:
    records = [{"x": n, "tokens": np.full(length, n)} for n, length in enumerate(LENGTHS.tolist())]
    bounds = [4, 6, 12]
    stages = [Pad("tokens", 12, to=bounds)]
    budget = TokenBudget(40, LENGTHS, bounds=bounds)
    return Pipeline(
        **{"source": records, "batch_size": 8, "output": "numpy", "seed": 2, "shuffle": True, "stages": stages}
        | {"batch_by": budget}
        | more
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("rest", [{}, {"drop_last": True}, {"pad_last": True}])
def test_batches_of_a_budget_have_few_shapes(workers: int, rest: dict[str, bool]) -> None:
    whole = {(8, 4), (6, 6), (3, 12)}
    with budgeted(num_workers=workers, **rest) as pipeline:
        for _ in range(2):
            found = [(batch["tokens"].shape, batch["x"][batch.valid_mask].tolist()) for batch in pipeline]
            shapes = [shape for shape, _ in found]
            assert set(shapes) == whole if rest else set(shapes) > whole
            records = [n for _, batch in found for n in batch]
            assert len(set(records)) == len(records)
            assert len(records) == RECORDS or "drop_last" in rest
            for shape, batch in found:
                assert all(shape[1] // 2 <= max(LENGTHS[n], 2) and LENGTHS[n] <= shape[1] for n in batch)


def test_batches_of_a_budget_arrive_as_arrays_of_jax_compiled_once_for_each_shape() -> None:
    compiled = []

    @jax.jit
    def total(batch: Any) -> Any:
        compiled.append(batch["tokens"].shape)
        return batch["tokens"].sum()

    with budgeted(output="jax", num_workers=1, pad_last=True) as pipeline:
        sums = sum(int(total(batch)) for _ in range(2) for batch in pipeline)
    assert sums == 2 * int((np.arange(RECORDS) * LENGTHS).sum())
    assert len(compiled) <= 2 * 3  # with a mask, and without


def test_global_arrays_share_the_batches_of_a_budget() -> None:
    hosts = []
    for index in range(2):
        with budgeted(shard=ShardOptions(index, 2), pad_last=True) as pipeline:
            hosts.append([(batch["tokens"].shape, batch["x"][batch.valid_mask].tolist()) for batch in pipeline])
    assert [shape for shape, _ in hosts[0]] == [shape for shape, _ in hosts[1]]
    assert sorted(n for host in hosts for _, batch in host for n in batch) == list(range(RECORDS))


def test_batches_of_a_budget_go_on_only_as_they_began() -> None:
    with budgeted() as pipeline:
        next(iter(pipeline))
        state = pipeline.get_state()
    for other in ({"batch_size": 5}, {"shard": ShardOptions(0, 2), "pad_last": True}):
        with budgeted(**other) as pipeline, pytest.raises(ValueError, match="batches of a number of tokens|choice: "):
            pipeline.set_state(state, elastic=True)


def test_records_that_fail_leave_the_other_batches_of_a_budget_whole() -> None:
    def picky(record: dict[str, Any]) -> dict[str, Any]:
        if record["x"] == 7:
            raise ValueError("seven")
        return record

    stages = [picky, Pad("tokens", 12, to=[4, 6, 12])]
    with budgeted(stages=stages, on_error="skip", num_workers=1) as pipeline:
        assert sorted(n for batch in pipeline for n in batch["x"].tolist()) == [n for n in range(RECORDS) if n != 7]


def test_a_mixture_says_what_its_sources_have_given() -> None:
    with make("mixed") as pipeline:
        assert {name: served.records for name, served in pipeline.mixture().items()} == {"a": 0, "b": 0, "c": 0}
        names: list[str] = []
        for _ in range(2):
            for batch in pipeline:
                names += batch.info["source"]
                for name, served in pipeline.mixture().items():
                    assert served.records == names.count(name)
                    assert abs(served.records - served.expected) < 1
    with make("mixed, filtered") as pipeline:
        for batch in pipeline:
            assert sum(served.records for served in pipeline.mixture().values()) >= len(batch["x"])
    with make("shuffled") as pipeline, pytest.raises(TypeError, match="source is a MemorySource"):
        pipeline.mixture()


def test_what_a_mixture_has_given_counts_all_hosts() -> None:
    with make("mixed", shard=ShardOptions(1, 2), pad_last=True) as pipeline:
        next(iter(pipeline))
        assert sum(served.records for served in pipeline.mixture().values()) == 14


BUDGET = TokenBudget(40, LENGTHS)


class WeightedRandomSampler:
    """Somebody's."""


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shuffle": 1000}, TypeError, r"without a buffer; or ShuffleWindow\(records=n\).*got 1000"),
        ({"shuffle": "False"}, TypeError, "shuffle must be True or False"),
        ({"sampler": [1, 2]}, TypeError, "got a list. IndexSampler"),
        ({"sampler": WeightedRandomSampler()}, TypeError, "got a WeightedRandomSampler"),
        ({"batch_by": 3}, TypeError, "batch_by must be a LengthGroups or a TokenBudget, got 3"),
        ({"batch_by": BUDGET, "sampler": IndexSampler([1])}, ValueError, "TokenBudget takes every record once"),
        ({"batch_by": BUDGET, "source": mixed()}, ValueError, "TokenBudget takes every record once"),
        ({"batch_by": BUDGET, "shuffle": ShuffleWindow(records=9)}, ValueError, "TokenBudget takes every record once"),
        ({"batch_by": BUDGET, "source": InBlocks(), "shuffle": True}, ValueError, "blocks, shuffle=True is a Shuffle"),
        ({"sampler": IndexSampler([1]), "shuffle": True}, ValueError, "shuffle=True and sampler both"),
        ({"sampler": WeightedSampler([1, 2])}, ValueError, "weights must be as many.*60; found 2"),
        ({"source": mixed(), "sampler": IndexSampler([1])}, ValueError, "MixSource says itself.*IndexSampler"),
        ({"source": mixed(), "shuffle": ShuffleWindow(records=5)}, ValueError, "so does ShuffleWindow"),
        (
            {"shuffle": ShuffleWindow(blocks=5)},
            ValueError,
            r"shuffle=ShuffleWindow\(blocks=5\) is for sources that are read in blocks",
        ),
        ({"source": InBlocks(), "shuffle": ShuffleWindow(blocks=5, hosts=2)}, ValueError, "a step has 7 rows"),
        (
            {"source": InBlocks(), "shuffle": ShuffleWindow(blocks=5, hosts=2), "batch_by": LengthGroups(WEIGHTS)},
            ValueError,
            "batch_by makes steps of its own",
        ),
        ({"batch_by": LengthGroups([1])}, ValueError, "lengths must be as many.*60; found 1"),
        ({"batch_by": LengthGroups(WEIGHTS), "enforce_batch": False}, ValueError, "batch_by is about batches"),
        ({"sampler": WeightedSampler(WEIGHTS), "seed": None}, ValueError, "WeightedSampler needs rngs"),
        ({"shuffle": ShuffleWindow(records=9), "seed": None}, ValueError, "ShuffleWindow needs rngs"),
        ({"batch_by": LengthGroups(WEIGHTS), "seed": None}, ValueError, "LengthGroups needs rngs"),
    ],
)
def test_what_cannot_be_combined_is_an_error(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make("in order", **arguments)


def test_a_budget_over_a_source_in_blocks_makes_the_batches_that_it_makes_over_others() -> None:
    streams = []
    for source in (InBlocks(), plain()):
        with make("in order", source=source, batch_by=BUDGET) as pipeline:
            streams.append(batches(pipeline))
    assert streams[0] == streams[1]
    assert sorted(flat(streams[0])) == list(range(RECORDS))


def test_groups_by_length_want_records_that_follow_one_another() -> None:
    source = MemorySource(MemorySourceConfig(shard_id=0, num_workers=2), plain())
    with pytest.raises(ValueError, match="the source serves every 2th alone"):
        Pipeline(source=source, batch_size=4, batch_by=LengthGroups(WEIGHTS), seed=0)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("WeightedRandomSampler", r"sampler=WeightedSampler\(weights\)"),
        ("RandomSampler", "shuffle=True"),
        ("SubsetRandomSampler", "SubsetSource"),
        ("DistributedSampler", "shard="),
    ],
)
def test_a_sampler_of_torch_is_told_its_name_here(name: str, ours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.data")
    setattr(module, name, type(name, (), {}))
    monkeypatch.setitem(sys.modules, "torch.utils.data", module)
    with pytest.raises(TypeError, match=ours):
        make("in order", sampler=getattr(module, name)())


def part() -> MemorySource:
    return MemorySource(MemorySourceConfig(shard_id=1, num_workers=3), plain())


# The README's table: what a source or sampler may be combined with.
ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "any source": lambda: {"source": plain()},
    "mixture": lambda: {"source": mixed()},
    "mixture that ends": lambda: {"source": mixed(stop="last")},
    "weighted": lambda: {"source": plain(), "sampler": WeightedSampler(WEIGHTS)},
    "listed": lambda: {"source": plain(), "sampler": IndexSampler(np.arange(40))},
    "listed by epoch": lambda: {"source": plain(), "sampler": IndexSampler(lambda epoch: np.arange(40))},
    "moving windows": lambda: {"source": WindowSource(np.arange(63), 4, field="x", random_offset=True)},
    "part": lambda: {"source": part()},
    "packed": lambda: {"source": PackedSource([np.arange(4)] * RECORDS, 4, lengths=[4] * RECORDS)},
}
COLUMNS: dict[str, Callable[[], dict[str, Any]]] = {
    "Filter": lambda: {"stages": [Filter(lambda record: True)]},
    "FlatMap": lambda: {"stages": [FlatMap(lambda record: [record] * 2, most=2)]},
    "sampler": lambda: {"sampler": ClassBalancedSampler(WEIGHTS)},
    "ShuffleWindow": lambda: {"shuffle": ShuffleWindow(records=9)},
    "LengthGroups": lambda: {"batch_by": LengthGroups(WEIGHTS)},
    "TokenBudget": lambda: {"batch_by": TokenBudget(40, LENGTHS)},
}
REFUSED = {
    "Filter": {"listed by epoch", "moving windows"},
    "FlatMap": {"mixture", "mixture that ends", "weighted", "listed", "listed by epoch", "moving windows"},
    "sampler": {"mixture", "mixture that ends", "moving windows"},
    "ShuffleWindow": {"mixture", "mixture that ends", "weighted", "listed", "listed by epoch", "moving windows"},
    "LengthGroups": {"part"},
    "TokenBudget": {
        *("mixture", "mixture that ends", "weighted", "listed", "listed by epoch"),
        *("moving windows", "part"),
    },
}
BOTH_SAMPLERS = {"weighted", "listed", "listed by epoch"}


@pytest.mark.parametrize(
    ("row", "column"),
    [(row, column) for row in ROWS for column in COLUMNS if column != "sampler" or row not in BOTH_SAMPLERS],
)
def test_what_the_readme_says_of_each_combination_holds(row: str, column: str) -> None:
    arguments = {"batch_size": 7, "output": "numpy", "seed": 1, **ROWS[row](), **COLUMNS[column]()}
    if row in REFUSED[column]:
        with pytest.raises(ValueError, match="combined|both say|serves every"):
            len(Pipeline(**arguments))
        return
    with Pipeline(**arguments) as pipeline:
        assert len(list(pipeline)) == len(pipeline) > 0
