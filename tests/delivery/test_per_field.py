"""Another sharding for each field."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from datarax_mp import DeviceStage, Pipeline, RandomDeviceStage

P = PartitionSpec
DEVICES = jax.devices()
GRID = Mesh(np.array(DEVICES).reshape(2, 2), ("data", "seq"))
DATA = {
    "tokens": np.arange(16 * 6).reshape(16, 6),
    "label": np.arange(16),
    "meta": {"weight": np.arange(16.0, dtype=np.float32), "box": np.ones((16, 4), np.float32)},
}
TREE = {"tokens": P("data", "seq"), "label": None, "meta": {"weight": P(("data", "seq")), "box": P("data")}}


def make(sharding: Any, **more: Any) -> Pipeline[Any]:
    with jax.set_mesh(GRID):
        return Pipeline(**{"source": DATA, "batch_size": 8, "sharding": sharding, **more})


def shards(array: Any) -> set[tuple[int, ...]]:
    return {shard.data.shape for shard in array.addressable_shards}


@pytest.mark.parametrize("workers", [0, 2])
def test_each_field_is_split_as_its_own_sharding_says(workers: int) -> None:
    with make(TREE, num_workers=workers) as pipeline, make(None) as plain:
        for batch, wanted in zip(pipeline, plain, strict=True):
            assert batch["tokens"].sharding == NamedSharding(GRID, P("data", "seq"))
            assert shards(batch["tokens"]) == {(4, 3)}
            assert shards(batch["label"]) == {(8,)}
            assert len(batch["label"].addressable_shards) == 4
            assert shards(batch["meta"]["weight"]) == {(2,)}
            assert shards(batch["meta"]["box"]) == {(4, 4)}
            assert all(jax.tree.leaves(jax.tree.map(np.array_equal, batch.get_data(), wanted.get_data())))


def test_a_name_counts_for_all_fields_below_it() -> None:
    tree = {
        "tokens": SingleDeviceSharding(DEVICES[3]),
        "label": NamedSharding(GRID, P("seq")),
        "meta": Mesh(DEVICES, "x"),
    }
    with make(tree) as pipeline:
        batch = next(iter(pipeline))
        assert batch["tokens"].devices() == {DEVICES[3]}
        assert shards(batch["label"]) == {(4,)}
        assert shards(batch["meta"]["weight"]) == {(2,)}
        assert shards(batch["meta"]["box"]) == {(2, 4)}


def test_stages_masks_and_stacked_batches_keep_them() -> None:
    draw = RandomDeviceStage(lambda batch, keys: {**batch, "r": jax.vmap(jax.random.uniform)(keys)}, per_record=True)
    double = DeviceStage(lambda batch: {**batch, "tokens": batch["tokens"] * 2})
    with make(TREE, stages=[double, draw], seed=0, pad_last=True) as pipeline, make(TREE) as plain:
        group = next(pipeline.stacked(2))
        wanted = np.stack([batch["tokens"] for batch in plain])
        assert np.array_equal(group["tokens"], 2 * wanted)
        assert group.valid_mask.shape == group["r"].shape == (2, 8)
        sums = pipeline.scan(lambda batch: jnp.sum(batch["tokens"]), length=2)
        assert sums.tolist() == (2 * wanted).sum((1, 2)).tolist()
    with make(TREE) as pipeline:
        assert next(pipeline.stacked(2))["tokens"].sharding == NamedSharding(GRID, P(None, "data", "seq"))


@pytest.mark.parametrize(
    ("tree", "more", "error", "message"),
    [
        ({"tokens": P("model"), "label": None}, {}, ValueError, "field 'tokens': .* does not fit the mesh"),
        ({"tokens": {"x": "data"}}, {}, TypeError, r"field 'tokens/x': .*of type str"),
        ({0: P("data")}, {}, TypeError, "0 is no field's name"),
        ({"tokens": None, "label": None}, {}, ValueError, "names no mesh"),
        ({}, {}, ValueError, "names no mesh"),
        ({"tokens": P("data")}, {}, ValueError, "field 'label' has no sharding among those of tokens: add it"),
        ({**TREE, "image": None}, {}, ValueError, "names 'image', which is no field; there are tokens, label, meta"),
        ({**TREE, "label": P(("data", "seq"))}, {"batch_size": 6}, ValueError, "field 'label': a batch of 6 rows"),
        ({**TREE, "tokens": P(None, ("data", "seq"))}, {}, ValueError, "field 'tokens': axis 1 .* into 4 equal"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_field(
    tree: Any, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(tree, **more)
