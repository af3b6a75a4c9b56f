"""Going anywhere: one batch at once, the records of a step, the steps of a record."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from datarax_mp import Filter, IndexSampler, Pipeline, RandomMapElement, ShardOptions


def jitter(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random()}


def make(**options: Any) -> Pipeline[Any]:
    defaults: dict[str, Any] = {"batch_size": 7, "shuffle": True, "seed": 3, "output": "numpy"}
    return Pipeline(source={"n": np.arange(100)}, **(defaults | options))


def values(batch: Any) -> dict[str, list[Any]]:
    return {name: np.asarray(batch[name]).tolist() for name in batch}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("output", ["numpy", "jax"])
def test_any_batch_is_that_of_the_stream(workers: int, output: str) -> None:
    with make(num_workers=workers, output=output, stages=[RandomMapElement(jitter)]) as pipeline:
        stream = {(epoch, step): values(batch) for epoch in range(3) for step, batch in enumerate(pipeline)}
        for epoch, step in random.Random(0).choices(list(stream), k=20):
            batch = pipeline.at(epoch, step)
            assert values(batch) == stream[epoch, step]
            assert batch.metadata[0].index == pipeline.records(epoch, step)[0]


def test_the_iteration_is_not_touched() -> None:
    with make(num_workers=1) as pipeline, make() as other:
        iterator, undisturbed = iter(pipeline), iter(other)
        for _ in range(3):
            assert values(next(iterator)) == values(next(undisturbed))
            state = pipeline.get_state()
            pipeline.at(5, 2)
            assert pipeline.get_state() == state
        assert [values(batch) for batch in iterator] == [values(batch) for batch in undisturbed]
        assert pipeline.epoch == other.epoch == 1


def test_a_record_is_found_where_it_comes() -> None:
    pipeline = make(drop_last=True)
    found = {record: pipeline.find(record, epoch=1) for record in range(100)}
    for step in range(len(pipeline)):
        assert all(found[record] == [step] for record in pipeline.records(1, step).tolist())
    assert sorted(map(len, found.values())) == [0] * 2 + [1] * 98


def test_the_steps_of_all_shards_are_searched_and_the_records_are_this_ones() -> None:
    shards = [make(shard=ShardOptions(index, 2), pad_last=True) for index in range(2)]
    for record in range(0, 100, 9):
        [step] = shards[0].find(record, epoch=0)
        assert [record in shard.records(0, step) for shard in shards].count(True) == 1
        assert shards[1].find(record, epoch=0) == [step]


def test_a_sampler_repeats_records_and_a_filter_leaves_them_out() -> None:
    assert make(sampler=IndexSampler([5, 1, 5, 2]), batch_size=2, shuffle=None).find(5, epoch=0) == [0, 1]
    pipeline = make(stages=[Filter(lambda record: record["n"] % 2 == 0)])
    assert pipeline.find(3, epoch=0) == []
    assert pipeline.find(4, epoch=0) == [s for s in range(len(pipeline)) if 4 in pipeline.records(0, s)]


def test_what_is_not_there_is_said() -> None:
    with make(on_error="skip", stages=[fails]) as pipeline:
        for ask in (pipeline.at, pipeline.records):
            with pytest.raises(IndexError, match="step 15 of epoch 2 does not exist: the epoch has 15 steps"):
                ask(2, 15)
            with pytest.raises(ValueError, match="epoch must be at least 0"):
                ask(-1, 0)
            with pytest.raises(TypeError, match="step must be an int"):
                ask(0, 1.5)
        step = pipeline.find(0, epoch=0)[0]
        assert 0 not in pipeline.at(0, step)["n"]
        assert pipeline.skipped == 0
    with make(on_error="skip", batch_size=1, stages=[fails]) as pipeline:
        [step] = pipeline.find(0, epoch=0)
        with pytest.raises(LookupError, match=f"all records of step {step} of epoch 0 are skipped"):
            pipeline.at(0, step)
    with pytest.raises(RuntimeError, match="the pipeline is closed"):
        pipeline.at(0, 0)


def fails(record: dict[str, Any]) -> dict[str, Any]:
    if record["n"] == 0:
        raise ValueError("damaged")
    return record


def test_a_pipeline_that_went_on_with_another_batch_size_finds_what_is_left_of_the_epoch() -> None:
    before = make()
    iterator = iter(before)
    used = np.concatenate([next(iterator)["n"] for _ in range(3)])
    after = make(batch_size=10)
    after.set_state(before.get_state(), elastic=True)
    assert after.find(int(used[0]), epoch=0) == []
    first = after.records(0, 0)
    assert not set(first) & set(used)
    assert after.find(int(first[0]), epoch=0) == [0]
    assert values(after.at(0, 0)) == {"n": first.tolist()}
