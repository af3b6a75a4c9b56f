from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp import Pipeline
from datarax_mp.core.element_batch import Batch, BatchOps, Element, make_batch
from datarax_mp.core.metadata import UNKNOWN, Metadata


def data(rows: int = 4) -> dict[str, Any]:
    return {
        "image": jnp.arange(rows * 6, dtype=jnp.float32).reshape(rows, 2, 3),
        "text": {"ids": jnp.arange(rows)},
    }


def lazy(rows: int = 4) -> Batch:
    """A batch as it comes out of a pipeline."""
    return make_batch(data(rows), rows, lambda: [Metadata(index=row) for row in range(rows)])


def eager(rows: int = 4) -> Batch:
    states = {"seen": jnp.zeros(rows)}
    return Batch.from_parts(data(rows), states, [Metadata(index=row) for row in range(rows)], batch_state={"n": 1.0})


both = pytest.mark.parametrize("make", [lazy, eager])


@both
def test_a_batch_is_an_nnx_module_with_its_arrays_in_variables(make: Any) -> None:
    batch = make()
    assert isinstance(batch, nnx.Module)
    assert isinstance(batch.data, nnx.Variable)
    assert batch.data["image"].shape == batch.data.get_value()["image"].shape == (4, 2, 3)
    assert isinstance(batch.states, nnx.Variable)
    assert isinstance(batch.batch_state, nnx.Variable)


@both
def test_a_batch_has_the_habits_of_a_dict(make: Any) -> None:
    batch = make()
    assert "image" in batch
    assert "mask" not in batch
    assert list(batch) == list(batch.keys()) == ["image", "text"]
    assert dict(batch).keys() == batch.get_data().keys()
    assert (lambda image, text: image.shape)(**batch) == (4, 2, 3)
    assert [name for name, _ in batch.items()] == ["image", "text"]
    assert len(list(batch.values())) == 2
    with pytest.raises(KeyError, match=r"'mask'.*\['image', 'text'\]"):
        batch["mask"]


@both
def test_size_mask_and_metadata(make: Any) -> None:
    batch = make()
    assert batch.batch_size == 4
    assert isinstance(batch.batch_size, int)
    assert batch.valid_mask.dtype == bool
    assert batch.valid_mask.tolist() == [True] * 4
    assert [item.index for item in batch.metadata] == [0, 1, 2, 3]


# --- transformations


@both
def test_jit_and_nnx_jit_take_a_batch_and_do_not_retrace(make: Any) -> None:
    for jit in (jax.jit, nnx.jit):
        traces = []

        @jit
        def total(batch: Batch, traces: Any = traces) -> jax.Array:
            traces.append(batch.batch_size)
            return batch["image"].sum() + batch.data["text"]["ids"].sum()

        for batch in (make(), make(), make()):
            batch.metadata[0] = Metadata(source_info={"other": object()})
            assert float(total(batch)) == 276 + 6
        assert traces == [4]


def test_a_batch_that_was_looked_at_is_the_same_to_jit_as_one_that_was_not() -> None:
    traces = []

    @jax.jit
    def total(batch: Batch) -> jax.Array:
        traces.append(1)
        return batch["image"].sum()

    looked_at = lazy()
    assert looked_at.data is not None
    assert looked_at.states is not None
    assert looked_at.batch_state is not None
    total(lazy())
    total(looked_at)
    assert len(traces) == 1


@both
def test_leaves_are_the_arrays_and_nothing_else(make: Any) -> None:
    batch = make()
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(batch)[0]]
    assert paths[:2] == [".data['image']", ".data['text']['ids']"]
    assert len(jax.tree.leaves(batch)) == (2 if make is lazy else 4)
    assert jax.tree.structure(batch) == jax.tree.structure(make())


@both
def test_jit_returns_a_batch_whose_metadata_did_not_cross(make: Any) -> None:
    doubled = jax.jit(lambda batch: jax.tree.map(lambda leaf: leaf * 2, batch))(make())
    assert isinstance(doubled, Batch)
    assert float(doubled["image"].max()) == 46
    assert doubled.batch_size == 4
    assert doubled.metadata == [UNKNOWN] * 4


@both
def test_grad_goes_through_a_batch(make: Any) -> None:
    def loss(weight: jax.Array, batch: Batch) -> jax.Array:
        return (weight * batch["image"]).sum()

    assert float(jax.grad(loss)(jnp.float32(2), make())) == 276
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    grads = nnx.grad(lambda model, batch: model(batch["image"]).sum())(model, make())
    assert grads["kernel"].shape == (3, 1)


@both
def test_vmap_maps_over_the_elements(make: Any) -> None:
    axes = jax.tree.map(lambda leaf: None if leaf.ndim == 0 else 0, jax.tree.map(jnp.asarray, make()))
    sums = jax.vmap(lambda batch: batch["image"].sum(), in_axes=(axes,))(jax.tree.map(jnp.asarray, make()))
    assert sums.tolist() == make()["image"].sum((1, 2)).tolist()


@both
def test_scan_runs_over_stacked_batches(make: Any) -> None:
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), make(), make(), make())
    total, _ = jax.lax.scan(lambda carry, batch: (carry + batch["image"].sum(), None), jnp.float32(0), stacked)
    assert float(total) == 3 * 276


@both
def test_device_put_split_merge_and_clone(make: Any) -> None:
    batch = make()
    assert jax.device_put(batch, jax.devices()[1])["image"].devices() == {jax.devices()[1]}
    graphdef, state = nnx.split(batch)
    for again in (nnx.merge(graphdef, state), nnx.clone(batch)):
        assert isinstance(again, Batch)
        assert again.batch_size == 4
        assert np.array_equal(again["image"], batch["image"])
        assert again.get_batch_state().keys() == batch.get_batch_state().keys()


@both
def test_a_change_inside_nnx_jit_reaches_the_caller(make: Any) -> None:
    @nnx.jit
    def observe(batch: Batch) -> None:
        batch.update_batch_state({"sum": batch["image"].sum()})
        batch.data["image"] = batch["image"] + 1

    batch = make()
    observe(batch)
    assert float(batch.get_batch_state()["sum"]) == 276
    assert float(batch["image"].max()) == 24


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "jit": nnx.jit,
    "jit of jit": lambda function: nnx.jit(nnx.jit(function)),
    "remat": nnx.remat,
    "grad": lambda function: nnx.grad(lambda model, batch: function(batch) * model.x[...]),
    "jax.jit": jax.jit,
}


@pytest.mark.parametrize("name", TRANSFORMS)
@both
def test_what_stays_on_the_host_is_there_after_a_function_of_nnx(make: Any, name: str) -> None:
    class Model(nnx.Module):
        def __init__(self) -> None:
            self.x = nnx.Param(jnp.ones(()))

    function = TRANSFORMS[name](lambda batch: batch["image"].sum())
    for looked_at in (False, True):
        batch = make()
        batch.set_batch_metadata({"from": "test"})
        if looked_at:
            assert len(batch.metadata) == 4
        function(*([Model()] if name == "grad" else []), batch)
        assert [item.index for item in batch.metadata] == [0, 1, 2, 3]
        assert batch.get_batch_metadata() == {"from": "test"}
        assert batch.batch_size == 4


def test_a_batch_as_a_plain_dict_has_arrays_and_what_is_none_nested_as_the_records_are() -> None:
    records = [{"x": row, "about": {"n": row, "name": f"row {row}"}} for row in range(3)]
    [batch] = Pipeline(source=records, batch_size=3, output="numpy")
    found = batch.to_dict()
    assert found["x"].tolist() == found["about"]["n"].tolist() == [0, 1, 2]
    assert found["about"]["name"] == ["row 0", "row 1", "row 2"]
    found["x"] = None
    assert batch["x"].tolist() == [0, 1, 2]


def test_text_is_there_after_a_function_of_nnx() -> None:
    records = [{"x": np.float32(row), "text": f"row {row}"} for row in range(6)]
    texts: list[Any] = []
    for batch in Pipeline(source=records, batch_size=4, pad_last=True):
        nnx.jit(lambda batch: batch["x"].sum())(batch)
        assert batch.valid_mask.tolist() == [text is not None for text in batch.info["text"]]
        texts += batch.info["text"]
    assert texts == [*(f"row {row}" for row in range(6)), None, None]


def test_other_rows_that_a_function_of_nnx_puts_in_have_no_metadata_of_those_before() -> None:
    @nnx.jit
    def halve(batch: Batch) -> None:
        batch.data["x"] = batch["x"][::2]

    batch = Batch.from_parts({"x": jnp.arange(4)}, metadata_list=[Metadata(index=row) for row in range(4)])
    halve(batch)
    assert batch["x"].tolist() == [0, 2]
    assert [item.index for item in batch.metadata] == [None, None]


@both
def test_pickle_and_deepcopy_keep_everything(make: Any) -> None:
    batch = make()
    batch.set_batch_metadata({"from": "test"})
    for again in (pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch), copy.copy(batch)):
        assert np.array_equal(again["image"], batch["image"])
        assert again.metadata == batch.metadata
        assert again.get_states().keys() == batch.get_states().keys()
        assert again.get_batch_metadata() == {"from": "test"}


def test_a_masked_batch_carries_its_mask_through_transformations() -> None:
    batch = Batch.from_parts(data(), valid_mask=jnp.array([True, True, True, False]))
    assert len(jax.tree.leaves(batch)) == 3
    assert jax.jit(lambda batch: batch.valid_mask)(batch).tolist() == [True, True, True, False]
    again = nnx.merge(*nnx.split(batch))
    assert again.valid_mask.tolist() == [True, True, True, False]


# --- making one


def test_elements_are_stacked_with_their_states_and_metadata() -> None:
    elements = [Element({"x": np.full(3, row)}, {"age": row}, Metadata(index=row)) for row in range(5)]
    batch = Batch(elements)
    assert isinstance(batch["x"], jax.Array)
    assert batch["x"].shape == (5, 3)
    assert batch.get_states()["age"].tolist() == [0, 1, 2, 3, 4]
    assert [item.index for item in batch.metadata] == [0, 1, 2, 3, 4]


def test_no_elements_make_a_batch_of_size_0() -> None:
    assert Batch([]).batch_size == 0
    assert Batch([]).metadata == []
    assert Batch([]).get_data() == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"x": np.zeros(4)}, r"element 1, field 'x'.*\(3,\).*\(4,\)"),
        ({"x": np.zeros(3, np.int32)}, r"element 1, field 'x'.*float64.*int32"),
        ({"y": np.zeros(3)}, r"element 1, field 'x'.*no such field"),
    ],
)
def test_elements_that_differ_are_an_error_that_names_element_and_field(other: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batch([Element({"x": np.zeros(3)}), Element(other)])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"data": {"a": np.zeros(3), "b": np.zeros(4)}}, "'a': 3, 'b': 4"),
        ({"data": {"a": np.zeros(3)}, "states": {"s": np.zeros(2)}}, "'a': 3, 'states/s': 2"),
        ({"data": {"a": np.zeros(3)}, "metadata_list": [Metadata()]}, "expected 3, found 1"),
        ({"data": {"a": np.zeros(3)}, "valid_mask": np.ones(2, bool)}, r"\(3,\), found \(2,\)"),
        ({"data": {}}, "no array"),
        ({"data": {"a": np.float32(1)}}, "no batch axis"),
    ],
)
def test_parts_that_do_not_fit_are_an_error_that_names_them(parts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Batch.from_parts(**parts)


def test_numpy_parts_stay_numpy() -> None:
    array = np.zeros((2, 3))
    assert Batch.from_parts({"x": array})["x"] is array
    assert isinstance(Batch.from_parts({"x": array}).valid_mask, np.ndarray)


def test_an_unknown_attribute_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match="labels"):
        lazy().labels = 1


# --- taking one apart


@both
def test_elements_and_slices_cut_everything_alike(make: Any) -> None:
    batch = make()
    element = batch.get_element(2)
    assert element.metadata is not None
    assert element.metadata.index == 2
    assert np.array_equal(element.data["image"], batch["image"][2])
    assert [e.metadata.index for e in batch.get_elements([3, 0]) if e.metadata] == [3, 0]
    assert len(batch.get_elements(slice(1, 3))) == 2
    part = batch.slice(1, 99)
    assert part.batch_size == 3
    assert [item.index for item in part.metadata] == [1, 2, 3]
    assert batch.slice(-5, 0).batch_size == 0
    for outside in (-1, 4):
        with pytest.raises(IndexError, match=str(outside)):
            batch.get_element(outside)


def test_a_slice_cuts_states_and_mask() -> None:
    batch = Batch.from_parts({"x": np.arange(4)}, {"s": np.arange(4)}, valid_mask=[True, False, True, False])
    part = batch.slice(1, 3)
    assert part.get_states()["s"].tolist() == [1, 2]
    assert part.valid_mask.tolist() == [False, True]


def test_splitting_for_devices() -> None:
    parts = lazy(6).split_for_devices(3)
    assert [[item.index for item in part.metadata] for part in parts] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="6 elements does not divide into 4"):
        lazy(6).split_for_devices(4)


def test_selecting_and_joining() -> None:
    batch = eager()
    some = BatchOps.select_batch_rows(batch, np.array([True, False, False, True]))
    assert some["text"]["ids"].tolist() == [0, 3]
    assert [item.index for item in some.metadata] == [0, 3]
    joined = BatchOps.concatenate_batch_sequence([some, batch])
    assert joined.batch_size == 6
    assert [item.index for item in joined.metadata] == [0, 3, 0, 1, 2, 3]
    assert joined.get_batch_state() == {"n": 1.0}
    with pytest.raises(ValueError, match=r"\(4,\)"):
        BatchOps.select_batch_rows(batch, np.ones(3, bool))
    with pytest.raises(ValueError, match="same fields"):
        BatchOps.concatenate_batch_sequence([batch, Batch.from_parts({"y": np.zeros(2)})])
    assert BatchOps.concatenate_batch_sequence([]).batch_size == 0


def test_joining_keeps_padding_marked() -> None:
    padded = Batch.from_parts({"x": np.arange(2)}, valid_mask=[True, False])
    whole = Batch.from_parts({"x": np.arange(2)})
    assert BatchOps.concatenate_batch_sequence([whole, padded]).valid_mask.tolist() == [True, True, True, False]


def test_batch_state_merges_and_batch_metadata_replaces() -> None:
    batch = eager()
    batch.update_batch_state({"m": 2.0})
    assert batch.get_batch_state() == {"n": 1.0, "m": 2.0}
    batch.set_batch_metadata("new")
    assert batch.get_batch_metadata() == "new"


def test_it_shows_names_dtypes_and_shapes() -> None:
    assert repr(lazy()) == str(lazy()) == "Batch(image: float32[4, 2, 3], text/ids: int32[4])"


@both
def test_batches_are_equal_if_fields_values_dtypes_and_mask_are(make: Any) -> None:
    def batch(**more: Any) -> Batch:
        data = {"x": np.array([1, np.nan, 3], np.float32), "deep": {"n": np.arange(3)}}
        return Batch.from_parts({**data, **more.pop("data", {})}, **more)

    assert batch() == batch()
    assert (batch() != batch()) is False
    assert batch().slice(0, 2) == batch().slice(0, 2)
    narrow = batch(data={"deep": {"n": np.arange(3, dtype=np.int32)}})
    assert narrow == jax.tree.map(jnp.asarray, narrow)
    assert batch(valid_mask=np.ones(3, bool)) == batch()
    different = [
        batch(data={"x": np.array([1, np.nan, 4], np.float32)}),
        batch(data={"x": np.array([1, np.nan, 3], np.float64)}),
        batch(data={"y": np.arange(3)}),
        batch(valid_mask=np.arange(3) < 2),
        batch(states={"s": np.arange(3)}),
        batch().slice(0, 2),
        3,
        None,
    ]
    for other in different:
        assert (batch() == other) is False
        assert batch() != other
    assert make() == make()
    one, other = make(), make()
    assert len({one, other, one}) == 2  # as keys they are objects, as all modules are
    assert one in [other]


@both
def test_a_field_can_be_asked_for_taken_out_and_put_in_as_in_a_dict(make: Any) -> None:
    for look_first in (False, True):
        batch, other = make(), make()
        if look_first:
            assert batch.data["image"] is not None  # it is a Variable from here on
        assert batch.get("image") is batch["image"]
        assert batch.get("mask") is None
        assert batch.get("mask", 3) == 3
        batch["image"] = batch["image"] * 2
        batch["mask"] = jnp.ones((4, 2))
        assert batch.pop("text")["ids"].tolist() == [0, 1, 2, 3]
        assert list(batch) == ["image", "mask"]
        assert np.array_equal(batch.data["image"], other["image"] * 2)
        assert batch.pop("text", "none") == "none"
        with pytest.raises(KeyError, match="no field 'text'"):
            batch.pop("text")
        del batch["mask"]
        with pytest.raises(KeyError, match=r"no field 'mask'; this batch has \['image'\]"):
            del batch["mask"]
        batch.pop("image")
        assert (len(batch), batch.batch_size, len(batch.metadata)) == (0, 4, 4)
        assert list(other) == ["image", "text"]


@both
@pytest.mark.parametrize("wrong", [np.zeros(3), np.float32(1), {"ids": np.zeros((5, 4))}, {}, "text", None])
def test_a_field_that_does_not_fit_cannot_be_put_in(make: Any, wrong: Any) -> None:
    batch = make()
    with pytest.raises(ValueError, match=r"field 'new' must be of shape \(4, \.\.\.\)"):
        batch["new"] = wrong
    assert list(batch) == ["image", "text"]


def test_fields_can_be_taken_out_inside_a_transformation() -> None:
    @jax.jit
    def forward(batch: Batch) -> Any:
        ids = batch.pop("text")["ids"]
        return (lambda image: image.sum((1, 2)))(**batch) + ids

    assert (
        forward(lazy()).tolist() == forward(eager()).tolist() == (data()["image"].sum((1, 2)) + jnp.arange(4)).tolist()
    )


@both
def test_unpacking_a_batch_does_not_bind_names_silently(make: Any) -> None:
    batch = make()
    message = r"write batch\['image'\], batch\['text'\]"
    with pytest.raises(TypeError, match=message):
        image, text = batch
    with pytest.raises(TypeError, match=message):
        image, *_ = batch
    with pytest.raises(TypeError, match=message):
        [image] = batch
    with pytest.raises(TypeError, match=message):
        for image, text in [batch]:  # noqa: B007
            pass
    image, _ = batch.values()
    assert image is batch["image"]
    first, second = list(batch)
    assert (first, second) == ("image", "text")
    assert [*batch] == [name for name in batch] == sorted(batch) == list(iter(batch))  # noqa: C416
    assert {**batch}.keys() == {"image", "text"}
