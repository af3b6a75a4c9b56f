from __future__ import annotations

import dataclasses

import jax
import pytest

from datarax_mp.core.element_batch import Element
from datarax_mp.core.metadata import Metadata


def test_metadata_is_immutable_and_replace_makes_a_changed_copy() -> None:
    metadata = Metadata(index=1, key="a", source_info={"text": "x"})
    assert metadata.replace(epoch=2).epoch == 2
    assert metadata.epoch is None
    assert metadata.entry_key == "a"
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata.index = 2  # type: ignore[misc]


def test_dicts_and_back() -> None:
    metadata = Metadata(index=1, epoch=2, global_step=3, batch_idx=4, shard_id=5, key="k", source_info={"a": [1]})
    assert Metadata.from_dict(metadata.to_dict()) == metadata
    with pytest.raises(TypeError, match="nonsense"):
        Metadata.from_dict({"nonsense": 1})


def test_metadata_is_a_pytree_that_jit_takes_whatever_source_info_holds() -> None:
    metadata = Metadata(index=3, rng_key=jax.random.key(0), source_info={"object": [1, {"deep": 2}]})
    out = jax.jit(lambda m: m.replace(index=m.index + 1))(metadata)
    assert int(out.index) == 4
    assert out.source_info == metadata.source_info
    assert jax.tree.map(lambda leaf: leaf, metadata) == metadata


def test_elements_are_immutable_pytrees() -> None:
    element = Element({"x": 1.0}, {"s": 2.0}, Metadata(index=7))
    assert element.update_state({"t": 3.0}).state == {"s": 2.0, "t": 3.0}
    assert element.update_data({"x": 5.0}).data == {"x": 5.0}
    assert element.with_metadata(None).metadata is None
    assert element.replace(data={}).data == {}
    assert element.transform(lambda value: value + 1).data == {"x": 2.0}
    assert jax.tree.leaves(element)[:2] == [1.0, 2.0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        element.data = {}
