"""The stream: what comes out, in which order, the same for every number of workers."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from datarax_mp import Batch, MapBatch, MapElement, MemorySource, MemorySourceConfig, Pipeline, RandomMapElement
from datarax_mp.sources.columns import InFile

WORKERS = [0, 1, 2, 3, 8]
LENGTH = 103


def columns() -> dict[str, np.ndarray]:
    return {"x": np.arange(LENGTH * 12, dtype=np.float32).reshape(LENGTH, 3, 4), "label": np.arange(LENGTH)}


def source(*, shuffle: bool = False) -> MemorySource:
    return MemorySource(MemorySourceConfig(shuffle=shuffle), columns(), rngs=nnx.Rngs(7) if shuffle else None)


def stream(pipeline: Pipeline, epochs: int = 1) -> list[dict[str, Any]]:
    """Everything that comes out, as plain values."""
    return [
        {name: np.asarray(value).tolist() for name, value in batch.items()} for _ in range(epochs) for batch in pipeline
    ]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_stream_is_identical_for_every_number_of_workers(shuffle: bool, drop_last: bool) -> None:
    streams = []
    for workers in WORKERS:
        with Pipeline(
            source=source(shuffle=shuffle), batch_size=8, num_workers=workers, drop_last=drop_last
        ) as pipeline:
            streams.append(stream(pipeline, epochs=3))
    assert all(other == streams[0] for other in streams)
    epochs = np.array_split(np.arange(len(streams[0])), 3)
    labels = [[n for step in epoch for n in streams[0][step]["label"]] for epoch in epochs]
    assert all(len(set(epoch)) == len(epoch) == (96 if drop_last else LENGTH) for epoch in labels)
    assert (labels[0] == labels[1]) is not shuffle
    for batch in streams[0]:
        assert batch["x"] == columns()["x"][batch["label"]].tolist()


def numbered(record: dict[str, Any]) -> dict[str, Any]:
    return {"x": record["x"] * 2, "label": record["label"]}


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random(2), "coin": rng.integers(10)}


def summed(batch: dict[str, Any]) -> dict[str, Any]:
    return {"sum": batch["x"].sum((1, 2)), "noise": batch["noise"], "label": batch["label"]}


@pytest.mark.parametrize("prefetch_size", [0, 5])
def test_stages_give_the_same_stream_for_every_number_of_workers(prefetch_size: int) -> None:
    streams = []
    for workers in (0, 1, 3):
        stages = [numbered, RandomMapElement(noisy), RandomMapElement(noisy), MapBatch(summed)]
        with Pipeline(
            source=source(shuffle=True),
            batch_size=10,
            stages=stages,
            num_workers=workers,
            prefetch_size=prefetch_size,
        ) as pipeline:
            streams.append(stream(pipeline, epochs=2))
    assert all(other == streams[0] for other in streams)
    assert streams[0][0]["sum"] == pytest.approx((columns()["x"][streams[0][0]["label"]] * 2).sum((1, 2)).tolist())
    noise = [tuple(row) for batch in streams[0] for row in batch["noise"]]
    assert len(set(noise)) == len(noise) == 2 * LENGTH


class Torchlike:
    """Reads records one by one."""

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": columns()["x"][number], "label": number}


class Batched(Torchlike):
    """Reads the records of a batch in one call."""

    def __getitem__(self, number: int) -> Any:
        raise AssertionError("read one by one")

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [Torchlike.__getitem__(self, number) for number in numbers]


class Columnar(Torchlike):
    """Reads the records of a batch in one call, and all values of a field together."""

    def __getitem__(self, number: int) -> Any:
        raise AssertionError("read one by one")

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        return {"x": columns()["x"][numbers], "label": np.array(numbers)}


def expected_stream() -> list[dict[str, Any]]:
    with Pipeline(source=source(), batch_size=8) as pipeline:
        return stream(pipeline)


@pytest.mark.parametrize("workers", [0, 2])
def test_any_kind_of_source_gives_the_same_stream(workers: int) -> None:
    records = [Torchlike()[number] for number in range(LENGTH)]
    for kind in (Torchlike(), Batched(), Columnar(), records, columns()):
        with Pipeline(source=kind, batch_size=8, num_workers=workers) as pipeline:
            assert stream(pipeline) == expected_stream(), type(kind)


def test_a_hugging_face_dataset_is_a_source() -> None:
    datasets = pytest.importorskip("datasets")
    hugging = datasets.Dataset.from_dict({"x": columns()["x"].tolist(), "label": list(range(LENGTH))})
    hugging.set_format("numpy")
    with Pipeline(source=hugging, batch_size=8, num_workers=1) as pipeline:
        assert stream(pipeline) == expected_stream()


@pytest.mark.parametrize("workers", [0, 2])
def test_bare_arrays_and_scalars_are_the_field_value(workers: int) -> None:
    for kind in (np.arange(10), list(range(10))):
        with Pipeline(source=kind, batch_size=4, num_workers=workers) as pipeline:
            assert [batch["value"].tolist() for batch in pipeline] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.needs("proc")  # which tells what is a mapped file
@pytest.mark.parametrize("workers", [0, 2])
def test_a_memmap_is_read_from_its_file_and_needs_no_shared_memory(workers: int, tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=columns()["x"].shape)
    mapped[:] = columns()["x"]
    mapped.flush()
    memory = MemorySource(MemorySourceConfig(), {"x": mapped, "label": columns()["label"]})
    with Pipeline(source=memory, batch_size=8, num_workers=workers) as pipeline:
        assert stream(pipeline) == expected_stream()
    assert isinstance(memory.columns[0].home, InFile if workers else type(None))  # type: ignore[union-attr]


@pytest.mark.parametrize("workers", [0, 2])
def test_text_and_objects_travel_in_the_metadata(workers: int) -> None:
    records = [{"x": number, "deep": {"text": f"t{number}", "y": 2.0}, "obj": {1, number}} for number in range(7)]
    by_column = {"x": np.arange(7), "deep": {"text": [f"t{number}" for number in range(7)], "y": np.full(7, 2.0)}}
    with Pipeline(source=records, batch_size=3, num_workers=workers) as pipeline:
        batches = list(pipeline)
    assert batches[0]["deep"]["y"].tolist() == [2.0] * 3
    infos = [item.source_info for batch in batches for item in batch.metadata]
    assert infos == [{"deep": {"text": f"t{number}"}, "obj": {1, number}} for number in range(7)]
    with Pipeline(source=by_column, batch_size=3, num_workers=workers) as pipeline:
        infos = [item.source_info["deep"]["text"] for batch in pipeline for item in batch.metadata]
    assert infos == [f"t{number}" for number in range(7)]


@pytest.mark.parametrize("workers", [0, 2])
def test_metadata_says_where_an_element_comes_from(workers: int) -> None:
    config = MemorySourceConfig(shuffle=True, shard_id=1, num_workers=2, track_metadata=True)
    shard = MemorySource(config, columns(), rngs=nnx.Rngs(0), name="digits")
    with Pipeline(source=shard, batch_size=8, num_workers=workers) as pipeline:
        for epoch in range(2):
            for step, batch in enumerate(pipeline):
                assert [item.index for item in batch.metadata] == batch["label"].tolist()
                first = batch.metadata[0]
                assert (first.epoch, first.batch_idx, first.shard_id) == (epoch, step, 1)
                assert first.global_step == epoch * len(pipeline) + step
                assert first.entry_key == f"digits:{first.index}"
                assert first.source_info == {"source": "digits"}


def test_shards_of_one_seed_share_the_epoch() -> None:
    seen = []
    for shard in range(3):
        config = MemorySourceConfig(shuffle=True, shard_id=shard, num_workers=3)
        with Pipeline(
            source=MemorySource(config, columns(), rngs=nnx.Rngs(5)), batch_size=10, num_workers=1
        ) as pipeline:
            seen += [number for batch in pipeline for number in batch["label"].tolist()]
    assert sorted(seen) == list(range(LENGTH))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_size_above_the_length_gives_one_short_batch(workers: int) -> None:
    with Pipeline(source=source(), batch_size=10**9, num_workers=workers) as pipeline:
        assert [batch.batch_size for batch in pipeline] == [LENGTH]
        assert len(pipeline) == 1


@pytest.mark.parametrize("output", ["jax", "numpy"])
@pytest.mark.parametrize("workers", [0, 2])
def test_pad_last_fills_up_with_zeros_and_marks_them(workers: int, output: Any) -> None:
    import jax

    with Pipeline(source=source(), batch_size=20, num_workers=workers, pad_last=True, output=output) as pipeline:
        batches = list(pipeline)
    assert [batch.batch_size for batch in batches] == [20] * 6
    assert batches[-1].valid_mask.tolist() == [True] * 3 + [False] * 17
    assert batches[0].valid_mask.all()
    assert batches[-1]["label"].tolist() == [100, 101, 102] + [0] * 17
    assert batches[-1]["x"][3:].sum() == 0
    assert [item.index for item in batches[-1].metadata] == [100, 101, 102] + [None] * 17
    assert len({str(jax.tree.structure(batch)) for batch in batches}) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_single_elements_come_in_the_same_order(workers: int) -> None:
    with Pipeline(source=source(shuffle=True), batch_size=16, num_workers=workers, enforce_batch=False) as pipeline:
        elements = list(pipeline)
        assert len(pipeline) == len(elements) == LENGTH
    with Pipeline(source=source(shuffle=True), batch_size=16, num_workers=workers) as pipeline:
        labels = [number for batch in pipeline for number in batch["label"].tolist()]
    assert [int(element["label"]) for element in elements] == labels
    assert elements[0]["x"].shape == (3, 4)
    assert np.array_equal(elements[0]["x"], columns()["x"][labels[0]])


def test_the_idiom_of_one_pipeline_per_epoch_reshuffles_reproducibly() -> None:
    def epochs() -> list[list[int]]:
        shuffled = source(shuffle=True)
        found = []
        for _ in range(3):
            pipeline = Pipeline(source=shuffled, batch_size=8, rngs=nnx.Rngs(0), num_workers=2)
            found.append([number for batch in pipeline for number in batch["label"].tolist()])
        return found

    first = epochs()
    assert len({tuple(epoch) for epoch in first}) == 3
    assert first == epochs()


def test_the_pipelines_rngs_serve_a_source_without_its_own() -> None:
    def labels(rngs: Any) -> list[int]:
        unseeded = MemorySource(MemorySourceConfig(shuffle=True), columns())
        with Pipeline(source=unseeded, batch_size=8, rngs=rngs) as pipeline:
            return [number for batch in pipeline for number in batch["label"].tolist()]

    assert labels(nnx.Rngs(0)) == labels(nnx.Rngs(0)) != labels(nnx.Rngs(1))
    assert labels(np.random.default_rng(0)) != list(range(LENGTH))


def test_shuffle_on_the_pipeline_overrides_the_sources() -> None:
    with Pipeline(source=Torchlike(), batch_size=8, shuffle=True, rngs=nnx.Rngs(0)) as pipeline:
        assert next(iter(pipeline))["label"].tolist() != list(range(8))
    with Pipeline(source=source(shuffle=True), batch_size=8, shuffle=False) as pipeline:
        assert next(iter(pipeline))["label"].tolist() == list(range(8))


class Grainlike:
    """A transformation as Grain has them."""

    def map(self, record: dict[str, Any]) -> dict[str, Any]:
        return {"y": record["label"] + 1}


class RandomGrainlike:
    """A random one."""

    def random_map(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**record, "z": rng.integers(1000)}


def test_grain_transforms_are_stages() -> None:
    with Pipeline(
        source=source(), batch_size=8, stages=[Grainlike(), RandomGrainlike()], rngs=nnx.Rngs(0), num_workers=2
    ) as pipeline:
        batch = next(iter(pipeline))
    assert batch["y"].tolist() == list(range(1, 9))
    assert len(set(batch["z"].tolist())) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_leaving_an_epoch_early_and_beginning_the_next(workers: int) -> None:
    with Pipeline(source=source(shuffle=True), batch_size=4, num_workers=workers) as whole:
        epochs = [[batch["label"].tolist() for batch in whole] for _ in range(4)]
    with Pipeline(source=source(shuffle=True), batch_size=4, num_workers=workers) as pipeline:
        for epoch in range(4):
            taken = [batch["label"].tolist() for batch in itertools.islice(pipeline, 3 + epoch)]
            assert taken == epochs[epoch][: 3 + epoch]


@pytest.mark.parametrize("workers", [0, 2])
def test_two_iterators_of_one_pipeline_are_two_epochs(workers: int) -> None:
    with Pipeline(source=source(shuffle=True), batch_size=8, num_workers=workers) as whole:
        epochs = [[batch["label"].tolist() for batch in whole] for _ in range(2)]
    with Pipeline(source=source(shuffle=True), batch_size=8, num_workers=workers) as pipeline:
        both = [(a["label"].tolist(), b["label"].tolist()) for a, b in zip(pipeline, pipeline, strict=True)]
    assert both == list(zip(*epochs, strict=True))


def test_what_comes_out_is_a_batch_without_further_ado() -> None:
    with Pipeline(source=source(), batch_size=8, stages=[MapElement(numbered)], num_workers=1) as pipeline:
        batch = next(iter(pipeline))
    assert isinstance(batch, Batch)
    assert isinstance(batch, nnx.Module)
    assert batch.batch_size == 8
    assert not isinstance(vars(batch)["_data"], nnx.Variable)  # made when somebody looks


class Endless:
    """A source that exists only as a function."""

    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"n": number}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_may_be_longer_than_memory(workers: int) -> None:
    with Pipeline(
        source=Endless(),
        batch_size=4,
        num_workers=workers,
        shuffle=True,
        rngs=np.random.default_rng(0),
        output="numpy",
        on_error="skip",
    ) as pipeline:
        batch = next(iter(pipeline))
    assert all(0 <= n < 10**12 for n in batch["n"].tolist())
