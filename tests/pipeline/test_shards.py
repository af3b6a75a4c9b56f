"""Several pipelines, one per host, that share the epochs of one source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flax import nnx

from datarax_mp import MapBatch, MemorySource, MemorySourceConfig, Pad, Pipeline, ShardOptions


def make(shard: Any, *, length: int = 50, batch_size: int = 4, workers: int = 0, **more: Any) -> Pipeline:
    source = MemorySource(MemorySourceConfig(shuffle=True), {"n": np.arange(length)}, rngs=nnx.Rngs(0))
    more = {"pad_last": True, "output": "numpy", **more}
    return Pipeline(source=source, batch_size=batch_size, num_workers=workers, shard=shard, **more)


def epoch(pipeline: Pipeline) -> list[list[int]]:
    return [batch["n"][batch.valid_mask].tolist() for batch in pipeline]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 60])
def test_padded_shards_together_are_the_epoch_in_equally_many_steps(count: int) -> None:
    seen: list[int] = []
    for index in range(count):
        with make(ShardOptions(index, count), workers=index % 3) as pipeline:
            batches = list(pipeline)
            assert len(batches) == len(pipeline) == -(-50 // (4 * count))
            assert {batch["n"].shape for batch in batches} == {(4,)}
            seen += [n for batch in batches for n in batch["n"][batch.valid_mask].tolist()]
    assert sorted(seen) == list(range(50))


@pytest.mark.parametrize("count", [2, 3, 12])
def test_dropping_shards_lose_less_than_one_global_batch(count: int) -> None:
    seen: list[int] = []
    for index in range(count):
        with make(ShardOptions(index, count), pad_last=False, drop_last=True) as pipeline:
            batches = epoch(pipeline)
            assert len(batches) == len(pipeline) == 50 // (4 * count)
            seen += [n for batch in batches for n in batch]
    assert len(seen) == len(set(seen)) == 50 - 50 % (4 * count)


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_side_by_side_are_the_batches_of_one_pipeline(workers: int) -> None:
    with make(None, batch_size=12) as pipeline:
        whole = [epoch(pipeline) for _ in range(2)]
    shards = [make(ShardOptions(index, 3), workers=workers) for index in range(3)]
    for number in range(2):
        parts = [epoch(shard) for shard in shards]
        assert [a + b + c for a, b, c in zip(*parts, strict=True)] == whole[number]
    for shard in shards:
        shard.close()


def test_a_state_of_one_shard_fits_the_others() -> None:
    with make(ShardOptions(0, 2)) as first, make(ShardOptions(1, 2)) as second:
        iterator = iter(first)
        next(iterator)
        second.set_state(first.get_state())
        with make(ShardOptions(1, 2)) as whole:
            assert epoch(second) == epoch(whole)[1:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_is_all_padding_passes_every_kind_of_stage(workers: int) -> None:
    records = [{"x": np.arange(n % 3 + 1)} for n in range(5)]
    stages = [Pad("x", 8, to="longest", lengths="length"), MapBatch(lambda batch: {**batch, "twice": 2 * batch["x"]})]
    with Pipeline(
        source=records, batch_size=4, stages=stages, num_workers=workers, shard=ShardOptions(1, 2), pad_last=True
    ) as pipeline:
        [batch] = list(pipeline)
        assert batch.valid_mask.tolist() == [True, False, False, False]
    with Pipeline(
        source=records[:4], batch_size=4, stages=stages, num_workers=workers, shard=ShardOptions(1, 2), pad_last=True
    ) as pipeline:
        [batch] = list(pipeline)
        assert batch.valid_mask.tolist() == [False] * 4
        assert batch["length"].tolist() == [0] * 4
        assert [item.index for item in batch.metadata] == [None] * 4


def test_single_elements_are_shared_out_with_drop_last() -> None:
    seen = []
    for index in range(3):
        with make(ShardOptions(index, 3), enforce_batch=False, pad_last=False, drop_last=True) as pipeline:
            mine = [int(element["n"]) for element in pipeline]
            assert len(mine) == len(pipeline) == 16
            seen += mine
    assert len(set(seen)) == 48


def test_the_source_s_own_part_is_shared_out_among_shards() -> None:
    seen = []
    for part in range(2):
        config = MemorySourceConfig(shuffle=True, shard_id=part, num_workers=2)
        source = MemorySource(config, {"n": np.arange(50)}, rngs=nnx.Rngs(0))
        for index in range(2):
            with Pipeline(source=source, batch_size=4, shard=ShardOptions(index, 2), pad_last=True, shuffle=False) as p:
                for batch in p:
                    seen += np.asarray(batch["n"])[np.asarray(batch.valid_mask)].tolist()
                    assert {item.shard_id for item in batch.metadata} == {2 * part + index}
    assert sorted(seen) == list(range(50))


def test_jax_says_which_process_this_is() -> None:
    with make("jax") as pipeline, make(None) as alone:
        assert epoch(pipeline) == epoch(alone)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"pad_last": False}, ValueError, "with 2 shards.*drop_last=True.*pad_last=True"),
        ({"pad_last": False, "drop_last": True, "on_error": "skip"}, ValueError, "shards' batches unequal.*pad_last"),
        ({"shard": "torch"}, TypeError, "shard must be a ShardOptions, 'jax' or None, got 'torch'"),
        ({"shard": (0, 2)}, TypeError, "ShardOptions"),
    ],
)
def test_shards_that_make_no_sense_are_an_error(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(wrong.pop("shard", ShardOptions(0, 2)), **wrong)
