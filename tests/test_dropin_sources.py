"""What a datarax script calls of ``MemorySource``, one test for each row of its table."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp import Pipeline
from datarax_mp.core.metadata import RecordMetadata
from datarax_mp.sources.memory_source import MemorySource, MemorySourceConfig


def source(length: int = 10, data: Any = None, **config: Any) -> MemorySource:
    columns = {"x": np.arange(2 * length, dtype=np.float32).reshape(length, 2), "n": np.arange(length)}
    rngs = nnx.Rngs(0) if config.get("shuffle") else None
    return MemorySource(MemorySourceConfig(**config), columns if data is None else data, rngs=rngs)


def numbers(batch: Any) -> list[int]:
    return np.asarray(batch["n"]).tolist()


# --- MemorySourceConfig


def test_sizes_of_cache_and_prefetch_are_taken_and_change_nothing() -> None:
    config = MemorySourceConfig(cache_size=100, prefetch_size=4)
    assert (MemorySourceConfig().cache_size, MemorySourceConfig().prefetch_size) == (0, 0)
    streams = []
    for given in (config, MemorySourceConfig()):
        with Pipeline(source=MemorySource(given, {"n": np.arange(5)}), batch_size=2, output="numpy") as pipeline:
            streams.append([numbers(batch) for batch in pipeline])
    assert streams[0] == streams[1]
    with pytest.raises(ValueError, match="cache_size"):
        MemorySourceConfig(cache_size=-1)
    with pytest.raises(ValueError, match="prefetch_size"):
        MemorySourceConfig(prefetch_size=-1)


# --- get_batch


def test_batches_move_on_and_the_next_epoch_follows_the_end() -> None:
    records = source()
    assert [numbers(records.get_batch(4)) for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]
    shuffled = source(shuffle=True)
    epochs = [[n for _ in range(3) for n in numbers(shuffled.get_batch(4))] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_batches_of_a_sequence_of_records_are_lists() -> None:
    records = source(data=[{"n": number, "text": f"t{number}"} for number in range(3)])
    assert records.get_batch(2) == [{"n": 0, "text": "t0"}, {"n": 1, "text": "t1"}]
    assert records.get_batch(2) == [{"n": 2, "text": "t2"}]
    assert records.get_batch_at(2, 2) == [{"n": 2, "text": "t2"}, {"n": 0, "text": "t0"}]


@pytest.mark.parametrize("shuffle", [False, True])
def test_with_a_key_a_batch_depends_on_the_key_alone(shuffle: bool) -> None:
    records = source(shuffle=shuffle)
    key = jax.random.key(3)
    first = numbers(records.get_batch(4, key=key))
    records.get_batch(3)
    assert numbers(records.get_batch(4, key=key)) == first
    assert len(set(first)) == 4
    assert numbers(records.get_batch(4, key=jax.random.key(4))) != first
    assert sorted(numbers(records.get_batch(99, key=key))) == list(range(10))
    assert records.index.get_value() == 3
    assert numbers(jax.jit(lambda key: records.get_batch(4, key=key))(key)) == first


# --- get_batch_at


def test_a_batch_at_a_place_wraps_around_and_moves_nothing() -> None:
    records = source()
    assert numbers(records.get_batch_at(8, 4)) == [8, 9, 0, 1]
    assert numbers(records.get_batch_at(jnp.int32(3), 2)) == [3, 4]
    assert numbers(records.get_batch_at(0, 12)) == [*range(10), 0, 1]
    assert records.get_batch_at(1, 2)["x"].tolist() == [[2, 3], [4, 5]]
    assert (records.index.get_value(), records.epoch.get_value()) == (0, 0)


def test_a_key_permutes_the_places_of_a_source_that_shuffles() -> None:
    records, key = source(shuffle=True), jax.random.key(0)
    every = numbers(records.get_batch_at(0, 10, key=key))
    assert sorted(every) == list(range(10))
    assert every != list(range(10))
    assert numbers(records.get_batch_at(7, 5, key=key)) == [*every[7:], *every[:2]]
    assert numbers(records.get_batch_at(0, 10, key=jax.random.key(1))) != every
    assert numbers(source().get_batch_at(0, 10, key=key)) == list(range(10))


def test_the_place_may_be_traced() -> None:
    records, key = source(shuffle=True), jax.random.key(0)

    @jax.jit
    def total(key: Any) -> Any:
        def step(start: Any, _: Any) -> Any:
            batch = records.get_batch_at(start, 3, key=key)
            return start + 3, (batch["n"], batch["x"])

        return jax.lax.scan(step, 0, length=4)[1]

    found, x = total(key)
    expected = [records.get_batch_at(start, 3, key) for start in (0, 3, 6, 9)]
    assert found.tolist() == [numbers(batch) for batch in expected]
    assert x.tolist() == [batch["x"].tolist() for batch in expected]


def test_what_cannot_be_traced_is_an_error_that_names_the_field() -> None:
    text = source(data={"n": np.arange(3), "deep": {"text": ["a", "b", "c"]}})
    with pytest.raises(TypeError, match="field 'deep/text' is no array"):
        jax.jit(lambda start: text.get_batch_at(start, 2))(0)
    with pytest.raises(TypeError, match="sequence of records"):
        jax.jit(lambda start: source(data=[{"n": 1}]).get_batch_at(start, 1))(0)
    with pytest.raises(OverflowError, match="field 'n' holds values that do not fit into int32"):
        jax.jit(lambda start: source(data={"n": np.arange(3) << 40}).get_batch_at(start, 2))(0)


def test_batches_of_a_shard_are_of_its_own_records() -> None:
    def part() -> MemorySource:
        return source(shard_id=1, num_workers=3)

    assert [numbers(batch) for batch in (part().get_batch(2), part().get_batch_at(1, 4))] == [[1, 4], [4, 7, 1, 4]]
    assert sorted(numbers(part().get_batch(9, key=jax.random.key(0)))) == [1, 4, 7]


# --- where it stands


def test_index_and_epoch_are_variables() -> None:
    records = source()
    assert isinstance(records.index, nnx.Variable)
    assert isinstance(records.epoch, nnx.Variable)
    places = []
    for _ in range(4):
        records.get_batch(4)
        places.append((records.index.get_value(), records.epoch.get_value()))
    assert places == [(4, 0), (8, 0), (0, 1), (4, 1)]
    records.index.set_value(9)
    assert numbers(records.get_batch(4)) == [9]
    again = pickle.loads(pickle.dumps(records))
    assert (again.index.get_value(), again.epoch.get_value()) == (0, 2)


def test_a_source_whose_variables_were_asked_for_imports_no_flax_in_workers(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\n"
        "import numpy as np\n"
        "from datarax_mp import MemorySource, MemorySourceConfig, Pipeline\n"
        "source = MemorySource(MemorySourceConfig(track_metadata=True), {'n': np.arange(4)})\n"
        "assert source.index.get_value() == 0\n"
        "def loaded(record):\n"
        "    return {**record, 'loaded': 'flax' in sys.modules or 'jax' in sys.modules}\n"
        "pipeline = Pipeline(source=source, batch_size=4, stages=[loaded], num_workers=1, output='numpy')\n"
        "assert not next(iter(pipeline))['loaded'].any()\n"
        "pipeline.close()\n"
    )


def test_reset_begins_anew_and_may_take_another_seed() -> None:
    records = source(shuffle=True)
    first = [numbers(records.get_batch(10)) for _ in range(2)]
    records.reset()
    assert (records.index.get_value(), records.epoch.get_value()) == (0, 0)
    assert [numbers(records.get_batch(10)) for _ in range(2)] == first
    records.reset(seed=5)
    other = numbers(records.get_batch(10))
    assert other != first[0]
    records.reset(seed=5)
    assert numbers(records.get_batch(10)) == other
    with pytest.raises(TypeError, match="seed must be an int"):
        records.reset(seed="5")  # type: ignore[arg-type]


def test_random_order_can_be_asked_for_and_switched() -> None:
    records = MemorySource(MemorySourceConfig(), {"n": np.arange(50)}, rngs=nnx.Rngs(0))
    assert records.is_random_order is False
    records.set_random_order(True)
    assert records.is_random_order is True
    assert numbers(records.get_batch(50)) != list(range(50))
    with Pipeline(source=records, batch_size=50) as pipeline:
        assert numbers(next(iter(pipeline))) != list(range(50))
    records.set_random_order(False)
    assert numbers(records.get_batch(50)) == list(range(50))


# --- what is known about the records


def test_metadata_of_records_and_batches() -> None:
    records = source(track_metadata=True, shard_id=0, num_workers=2)
    assert records.has_metadata is True
    record, metadata = records.get_with_metadata(-2)
    assert record["n"] == 8
    assert isinstance(metadata, RecordMetadata)
    assert (metadata.index, metadata.record_key, metadata.epoch, metadata.shard_id) == (8, "memory:8", 0, 0)
    records.get_batch(4)
    batch, several = records.get_batch_with_metadata(3)
    assert numbers(batch) == [item.index for item in several] == [8]
    assert several[0].epoch == 0
    batch, several = records.get_batch_with_metadata(3)
    assert numbers(batch) == [item.index for item in several] == [0, 2, 4]
    assert [item.epoch for item in several] == [1, 1, 1]
    drawn, several = records.get_batch_with_metadata(2, key=jax.random.key(1))
    assert numbers(drawn) == [item.index for item in several]
    with pytest.raises(IndexError, match="10"):
        records.get_with_metadata(10)


def test_metadata_agrees_with_a_pipelines() -> None:
    records = source(track_metadata=True)
    with Pipeline(source=records, batch_size=3) as pipeline:
        of_pipeline = next(iter(pipeline)).metadata[2]
    _, metadata = records.get_with_metadata(2)
    assert (metadata.index, metadata.key) == (of_pipeline.index, of_pipeline.key)
    assert metadata.source_info == of_pipeline.source_info


@pytest.mark.parametrize("call", ["get_with_metadata", "get_batch_with_metadata"])
def test_metadata_that_are_not_tracked_are_an_error(call: str) -> None:
    records = source()
    assert records.has_metadata is False
    with pytest.raises(RuntimeError, match="track_metadata=True"):
        getattr(records, call)(1)
    assert records.index.get_value() == 0


def test_the_spec_of_a_record() -> None:
    data = {"x": np.zeros((3, 2), np.float32), "deep": {"n": np.arange(3, dtype=np.int16)}, "text": ["a", "b", "c"]}
    expected = {"x": jax.ShapeDtypeStruct((2,), np.float32), "deep": {"n": jax.ShapeDtypeStruct((), np.int16)}}
    assert source(data=data).element_spec() == expected
    records = [{"x": np.zeros(2, np.float32), "deep": {"n": np.int16(n)}, "text": "a"} for n in range(3)]
    assert source(data=records).element_spec() == expected
    assert source(data=np.zeros((3, 2), np.float32)).element_spec() == expected["x"]


# --- scalars beside columns


@pytest.mark.parametrize("workers", [0, 1])
def test_scalars_beside_columns_are_the_same_for_every_record(workers: int) -> None:
    data = {
        "n": np.arange(4),
        "scale": 0.5,
        "deep": {"id": np.int16(3), "on": True},
        "split": "train",
        "mean": np.array(2, np.float32),
        "device": jnp.float32(7),
        "half": jnp.bfloat16(1.5),
    }
    records = MemorySource(MemorySourceConfig(), data)
    assert records[2]["scale"] == 0.5
    assert records[-1]["split"] == "train"
    batch = records.get_batch(3)
    assert batch["deep"]["id"].tolist() == [3, 3, 3]
    with Pipeline(source=data, batch_size=4, num_workers=workers, output="numpy") as pipeline:
        made = next(iter(pipeline))
    assert made["scale"].tolist() == [0.5] * 4
    assert (made["deep"]["id"].dtype, made["deep"]["on"].dtype, made["mean"].dtype) == (np.int16, bool, np.float32)
    assert (made["device"].tolist(), made["half"].astype(float).tolist()) == ([7] * 4, [1.5] * 4)
    assert made.info["split"] == ["train"] * 4


def test_scalars_alone_are_no_data() -> None:
    with pytest.raises(TypeError, match="column 'a' must be an array or a list, not int"):
        source(data={"a": 5, "b": "text"})
