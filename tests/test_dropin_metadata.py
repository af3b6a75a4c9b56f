"""What a datarax script calls in ``core.metadata``, one test for each row of its table."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from datarax_mp.core.metadata import (
    Metadata,
    RecordMetadata,
    batch_metadata,
    create_metadata,
    split_rng_tree,
    update_metadata_batch,
)


def test_the_numbers_begin_at_0_in_this_order() -> None:
    names = ["index", "epoch", "global_step", "batch_idx", "shard_id", "rng_key", "source_info", "key"]
    assert list(inspect.signature(Metadata).parameters) == names
    metadata = Metadata()
    assert (metadata.index, metadata.epoch, metadata.global_step) == (0, 0, 0)
    assert [getattr(metadata, name) for name in names[3:]] == [None, None, None, {}, None]
    assert Metadata(1, 2, 3, 4, 5, None, {"a": 1}, "k").source_info == {"a": 1}


def test_key_and_source_info_are_no_part_of_the_structure() -> None:
    one, other = Metadata(1, key="a", source_info={"a": object()}), Metadata(2, key="bcd", source_info={"b": [1, 2]})
    assert jax.tree.structure(one) == jax.tree.structure(other) == jax.tree.structure(Metadata())
    assert hash(jax.tree.structure(one)) == hash(jax.tree.structure(other))
    traces = []

    @jax.jit
    def moved(metadata: Metadata) -> Metadata:
        traces.append(1)
        return metadata.increment_step()

    assert [moved(one).record_key, moved(other).record_key] == ["a", "bcd"]
    assert len(traces) == 1
    for metadata in (one, other):
        leaves, structure = jax.tree.flatten(metadata)
        assert jax.tree.unflatten(structure, leaves).record_key == metadata.record_key


def test_in_a_loop_of_jaxs_a_metadata_is_a_carry() -> None:
    def step(carry: Metadata, _: Any) -> tuple[Metadata, Any]:
        return carry.increment_step().increment_batch(), carry.global_step

    start = jax.tree.map(jnp.asarray, Metadata(3, batch_idx=0, key="k"))
    last, steps = jax.lax.scan(step, start, length=4)
    assert steps.tolist() == [0, 1, 2, 3]
    assert (int(last.global_step), int(last.batch_idx), last.key) == (4, 4, "k")


def test_the_key_is_called_record_key() -> None:
    metadata = Metadata(1).replace(record_key="a")
    assert metadata.record_key == metadata.key == "a"
    values = metadata.to_dict()
    assert values["record_key"] == "a"
    assert "key" not in values
    assert Metadata.from_dict(values) == Metadata.from_dict({"index": 1, "key": "a"}) == metadata


def test_merging_takes_what_the_other_knows() -> None:
    mine = Metadata(1, 2, 3, batch_idx=4, source_info={"a": 1}, key="a")
    assert mine.merge(None) is mine
    assert mine.merge(Metadata()) == mine
    merged = mine.merge(Metadata(0, 5, shard_id=6, rng_key=jax.random.key(1), source_info={"b": 2}, key="b"))
    assert (merged.index, merged.epoch, merged.global_step, merged.batch_idx, merged.shard_id) == (1, 5, 3, 4, 6)
    assert (merged.key, merged.source_info) == ("b", {"b": 2})
    assert jax.random.key_data(merged.rng_key).tolist() == [0, 1]


def test_moving_on() -> None:
    metadata = Metadata(7, 1, 20, 3)
    assert metadata.increment_step() == metadata.replace(global_step=21)
    assert metadata.increment_epoch() == metadata.replace(epoch=2, batch_idx=0)
    assert metadata.increment_batch() == metadata.replace(batch_idx=4)
    assert Metadata().increment_batch().batch_idx == 0
    assert metadata.with_shard(2) == metadata.replace(shard_id=2)


def test_splitting_keys() -> None:
    key = jax.random.key(0)
    metadata = Metadata(rng_key=key)
    assert Metadata().split_rng() == [None, None]
    assert Metadata().split_rng(3) == [None] * 3
    assert Metadata().next_rng() == Metadata()
    assert [jax.random.key_data(part).tolist() for part in metadata.split_rng(3)] == [
        jax.random.key_data(part).tolist() for part in jax.random.split(key, 3)
    ]
    assert (jax.random.key_data(metadata.next_rng().rng_key) == jax.random.key_data(jax.random.split(key)[1])).all()


def test_making_one_with_a_seed() -> None:
    metadata = create_metadata(index=3, epoch=1, record_key="a", seed=5)
    assert (metadata.index, metadata.epoch, metadata.record_key) == (3, 1, "a")
    assert (jax.random.key_data(metadata.rng_key) == jax.random.key_data(jax.random.key(5))).all()
    assert create_metadata() == Metadata()
    with pytest.raises(ValueError, match="give one of them"):
        create_metadata(seed=1, rng_key=jax.random.key(0))


def test_keys_by_name() -> None:
    assert list(split_rng_tree(create_metadata(seed=0), 4)) == ["a", "b", "key_2", "key_3"]
    assert list(split_rng_tree(create_metadata(seed=0), 1)) == ["a"]
    assert split_rng_tree(Metadata(), 3) == {"key_0": None, "key_1": None, "key_2": None}
    [alone] = split_rng_tree(create_metadata(seed=0), 1).values()
    assert (jax.random.key_data(alone) == jax.random.key_data(jax.random.split(jax.random.key(0), 1)[0])).all()


def test_one_for_many() -> None:
    many = [
        Metadata(5, 1, 10, key="a", source_info={"a": 1}),
        Metadata(6, 3, 7, batch_idx=2, key="b"),
        Metadata(None, None, None, batch_idx=9, shard_id=4),
    ]
    assert batch_metadata(many) == Metadata(5, 3, 10, 2, 4, source_info={"a": 1}, key="a")
    assert batch_metadata([]) == Metadata()


def test_a_batch_later_in_and_out_of_a_trace() -> None:
    metadata = Metadata(global_step=64, key="a", source_info={"a": 1})
    later = update_metadata_batch(metadata, 32)
    assert later == metadata.replace(global_step=96, batch_idx=1)
    assert update_metadata_batch(later, 32) == metadata.replace(global_step=128, batch_idx=2)
    traced = jax.jit(update_metadata_batch)(later, 32)
    assert (int(traced.global_step), int(traced.batch_idx), traced.key) == (128, 2, "a")


def test_a_records_metadata_is_metadata_with_a_number_and_a_key() -> None:
    names = ["index", "record_key", "rng_key", "epoch", "global_step", "batch_idx", "shard_id", "source_info"]
    assert list(inspect.signature(RecordMetadata).parameters) == names
    record = RecordMetadata(3, "photos:3", epoch=1, source_info={"a": 1})
    assert isinstance(record, Metadata)
    assert (record.index, record.record_key, record.epoch) == (3, "photos:3", 1)
    for again in (
        record.replace(epoch=1),
        jax.tree.map(lambda leaf: leaf, record),
        RecordMetadata.from_dict(record.to_dict()),
        pickle.loads(pickle.dumps(record)),
    ):
        assert type(again) is RecordMetadata
        assert again == record
