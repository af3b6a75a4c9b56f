from __future__ import annotations

import copy
import dataclasses
import pickle

import jax
import numpy as np
import pytest

from datarax_mp.core.element_batch import Element
from datarax_mp.core.metadata import Metadata


def test_metadata_is_immutable_and_replace_makes_a_changed_copy() -> None:
    metadata = Metadata(index=1, key="a", source_info={"text": "x"})
    assert metadata.replace(epoch=2).epoch == 2
    assert metadata.epoch == 0
    assert metadata.replace(record_key="b").key == "b"
    assert metadata.key == metadata.record_key == metadata.entry_key == "a"
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata.index = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="no attribute 'nonsense'"):
        metadata.replace(nonsense=1)
    with pytest.raises(TypeError, match="two names"):
        metadata.replace(key="a", record_key="b")
    with pytest.raises(AttributeError, match="nonsense"):
        metadata.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_dicts_and_back() -> None:
    metadata = Metadata(index=1, epoch=2, global_step=3, batch_idx=4, shard_id=5, key="k", source_info={"a": [1]})
    assert Metadata.from_dict(metadata.to_dict()) == metadata
    with pytest.raises(TypeError, match="nonsense"):
        Metadata.from_dict({"nonsense": 1})


def test_metadata_is_a_pytree_that_jit_takes_whatever_source_info_holds() -> None:
    metadata = Metadata(index=3, rng_key=jax.random.key(0), source_info={"object": [1, {"deep": 2}]})
    out = jax.jit(lambda m: m.replace(index=m.index + 1))(metadata)
    assert int(out.index) == 4
    assert jax.tree.map(lambda leaf: leaf, metadata) == metadata


def test_what_is_on_the_host_is_not_baked_into_a_compiled_function() -> None:
    seen = []

    @jax.jit
    def same(metadata: Metadata) -> Metadata:
        seen.append((metadata.key, metadata.source_info))
        return metadata

    first, second = (Metadata(n, key=f"k{n}", source_info={"text": f"t{n}"}) for n in range(2))
    assert [same(first).key, same(second).key, same(Metadata()).key] == ["k0", "k1", None]
    assert [same(first).source_info, same(second).source_info] == [{}, {}]
    assert seen == [(None, {})]
    assert jax.jit(lambda m: m.replace(record_key="new"))(first).key == "new"


def test_keys_of_many_are_stacked_and_taken_apart_again() -> None:
    keys = ["", "photo-3", "bild-\u00fc" * 40, None]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[Metadata(n, key=key) for n, key in enumerate(keys)])
    assert stacked.key is None
    apart = [jax.tree.map(lambda leaf, n=n: leaf[n], stacked) for n in range(4)]
    assert [item.key for item in apart[:2] + apart[3:]] == ["", "photo-3", None]
    assert apart[2].key is not None
    assert len(apart[2].key.encode()) in (127, 128)
    assert keys[2].startswith(apart[2].key)  # type: ignore[union-attr]


def test_metadata_out_of_a_pytree_is_as_good_as_before() -> None:
    metadata = Metadata(1, key="a", source_info={"text": "x"})
    again = jax.tree.unflatten(jax.tree.structure(metadata), jax.tree.leaves(metadata))
    assert again == metadata
    assert repr(again) == repr(metadata)
    assert again.replace(epoch=2).key == "a"
    assert again.replace(key="b").key == "b"
    for copied in (pickle.loads(pickle.dumps(again)), copy.deepcopy(again), copy.copy(again)):
        assert copied == metadata
    assert jax.eval_shape(lambda m: m, metadata).key is None


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
