"""Where the arrays end up, and of what they are made."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from datarax_mp import DeviceStage, Pipeline, RecordError
from datarax_mp.ring import Ring

IMAGES = np.arange(32 * 64 * 64 * 3, dtype=np.uint8).reshape(32, 64, 64, 3)


def data(**more: Any) -> dict[str, Any]:
    return {"image": np.concatenate([IMAGES] * 32), "label": np.arange(1024), **more}


def range_of(rings: list[Ring]) -> tuple[int, int]:
    [ring] = rings
    memory = np.frombuffer(ring.memory, np.uint8)
    start = memory.__array_interface__["data"][0]
    return start, start + memory.nbytes


@pytest.mark.parametrize("workers", [0, 2])
def test_large_arrays_on_the_cpu_are_aliases_of_the_slot_and_small_ones_copies(workers: int, rings: list[Ring]) -> None:
    with Pipeline(source=data(), batch_size=512, num_workers=workers) as pipeline:
        iterator = iter(pipeline)
        first = next(iterator)
        start, stop = range_of(rings)
        for batch in (first, next(iterator)):
            assert start <= batch["image"].unsafe_buffer_pointer() < stop
            assert not start <= batch["label"].unsafe_buffer_pointer() < stop


@pytest.mark.parametrize("workers", [0, 2])
def test_large_fields_are_looked_at_where_they_are_and_small_ones_beside_them_are_theirs(workers: int) -> None:
    large = np.random.default_rng(0).integers(0, 255, (800, 70_000), dtype=np.uint8)
    source = {"large": large, "small": np.arange(800)}
    with Pipeline(
        source=source, batch_size=4, num_workers=workers, shuffle=True, rngs=np.random.default_rng(1)
    ) as pipeline:
        for _ in range(3):
            kept, numbers = [], []
            for number, batch in enumerate(pipeline):
                numbers += batch["small"].tolist()
                assert np.array_equal(batch["large"], large[numbers[-4:]])
                if number % 50 == 49:
                    kept.append((batch, numbers[-4:]))
            assert sorted(numbers) == list(range(800))
            assert all(np.array_equal(batch["large"], large[rows]) for batch, rows in kept)


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_that_are_collected_hold_no_slot(workers: int, rings: list[Ring]) -> None:
    with Pipeline(source=data(), batch_size=16, num_workers=workers) as pipeline:
        iterator = iter(pipeline)
        labels = [next(iterator)["label"] for _ in range(60)]
        start, stop = range_of(rings)
        held = rings[0].leased
        assert start <= next(iterator)["image"].unsafe_buffer_pointer() < stop
    assert np.concatenate(labels).tolist() == list(range(960))
    assert held <= 3  # those that stand ready


@pytest.mark.parametrize("workers", [0, 2])
def test_numpy_output_looks_into_the_ring_and_keeps_dtypes(workers: int, rings: list[Ring]) -> None:
    with Pipeline(source=data(), batch_size=512, num_workers=workers, output="numpy") as pipeline:
        iterator = iter(pipeline)
        batch = next(iterator)
        start, stop = range_of(rings)
        for array in batch.values():
            assert isinstance(array, np.ndarray)
            assert start <= array.__array_interface__["data"][0] < stop
        assert batch["label"].dtype == np.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_64_bit_values_become_what_jax_holds(workers: int) -> None:
    wide = {"i": np.arange(8), "u": np.arange(8, dtype=np.uint64), "f": np.linspace(0, 1, 8), "b": np.ones(8, bool)}
    with Pipeline(source=wide, batch_size=8, num_workers=workers) as pipeline:
        batch = next(iter(pipeline))
        assert {name: str(array.dtype) for name, array in batch.items()} == {
            "i": "int32",
            "u": "uint32",
            "f": "float32",
            "b": "bool",
        }
        assert np.array_equal(batch["f"], wide["f"].astype(np.float32))
    with jax.enable_x64(True), Pipeline(source=wide, batch_size=8, num_workers=workers) as pipeline:
        assert next(iter(pipeline))["i"].dtype == jnp.int64


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("as_records", [False, True])
def test_a_value_that_does_not_fit_is_an_error_that_names_record_and_field(workers: int, as_records: bool) -> None:
    labels = np.arange(100)
    labels[57] = 2**40
    source: Any = [{"label": int(label)} for label in labels] if as_records else {"label": labels}
    with (
        Pipeline(source=source, batch_size=10, num_workers=workers) as pipeline,
        pytest.raises(RecordError, match=r"record 57, field 'label': .* int32, found 1099511627776"),
    ):
        list(pipeline)


@pytest.mark.parametrize("workers", [0, 2])
def test_arrays_go_to_the_device_that_was_asked_for(workers: int) -> None:
    device = jax.devices()[2]
    with Pipeline(source=data(), batch_size=512, num_workers=workers, device=device) as pipeline:
        for batch in pipeline:
            assert batch["image"].devices() == batch["label"].devices() == {device}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sharding_splits_rows_over_devices_without_a_copy(workers: int, rings: list[Ring]) -> None:
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    with Pipeline(source=data(), batch_size=512, num_workers=workers, sharding=sharding) as pipeline:
        iterator = iter(pipeline)
        for step, batch in enumerate(iterator):
            assert batch["image"].sharding == sharding
            assert np.array_equal(batch["label"], np.arange(step * 512, step * 512 + 512))
            assert len(batch["image"].addressable_shards) == 4
            assert batch["image"].addressable_shards[1].data.shape[0] == 128
            if step == 0:
                start, stop = range_of(rings)
                for shard in batch["image"].addressable_shards:
                    assert start <= shard.data.unsafe_buffer_pointer() < stop


def test_device_stages_run_jitted_after_the_transfer() -> None:
    traces = []

    def normalise(batch: dict[str, Any]) -> dict[str, Any]:
        traces.append(1)
        return {**batch, "image": batch["image"].astype(jnp.float32) / 255}

    class Scale(nnx.Module):
        def __init__(self) -> None:
            self.factor = nnx.Param(jnp.float32(10))

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {**batch, "image": batch["image"] * self.factor[...]}

    with Pipeline(
        source=data(), batch_size=512, stages=[lambda r: r, DeviceStage(normalise), Scale()], num_workers=2
    ) as pipeline:
        batches = list(pipeline)
    assert traces == [1]
    assert batches[1]["image"].dtype == jnp.float32
    expected = data()["image"][512:].astype(np.float32) / np.float32(255) * 10
    assert np.allclose(batches[1]["image"], expected, rtol=1e-6)


def test_a_pipeline_per_epoch_compiles_its_device_stages_once() -> None:
    traces = []

    def double(batch: dict[str, Any]) -> dict[str, Any]:
        traces.append(1)
        return {"y": batch["value"] * 2}

    for _ in range(3):
        assert len(list(Pipeline(source=np.arange(8), batch_size=4, stages=[DeviceStage(double)]))) == 2
    assert traces == [1]


def test_device_stages_serve_single_elements_too() -> None:
    stage = DeviceStage(lambda batch: {"y": batch["value"] * 2})
    with Pipeline(source=np.arange(5), batch_size=2, stages=[stage], enforce_batch=False) as pipeline:
        assert [int(element["y"]) for element in pipeline] == [0, 2, 4, 6, 8]


def test_a_donated_batch_does_not_write_into_the_slot() -> None:
    with Pipeline(source=data(), batch_size=512, num_workers=1) as pipeline:
        iterator = iter(pipeline)
        batch = next(iterator)
        view = np.asarray(batch["image"])
        expected = view.copy()
        add = jax.jit(lambda image: image + 1, donate_argnums=0)
        add(batch["image"]).block_until_ready()
        assert np.array_equal(view, expected)
