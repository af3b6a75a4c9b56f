"""What a datarax script calls in ``core.element_batch``, one test for each row of its table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp.core.element_batch import (
    Batch,
    BatchOps,
    BatchView,
    Element,
    conditional_transform,
    create_batch_from_arrays,
    create_element,
    iterative_transform,
    while_transform,
)
from datarax_mp.core.metadata import UNKNOWN, Metadata

AGES: list[dict[str, Any]] = [{"age": jnp.int32(3)}, {"age": jnp.int32(4), "note": jnp.zeros(2)}, {}]


def three(**parts: Any) -> Batch:
    return Batch.from_parts({"x": jnp.arange(6.0).reshape(3, 2)}, **parts)


# --- Batch.from_parts


def test_states_may_be_a_list_with_one_dict_per_element_and_stay_one() -> None:
    batch = three(states=AGES)
    assert batch.batch_size == 3
    assert isinstance(batch.get_states(), list)
    assert batch.get_states() == AGES
    assert isinstance(batch.states, nnx.Variable)
    assert batch.states.get_value() == AGES
    assert batch.get_states() == AGES
    with pytest.raises(ValueError, match="states, a list.*expected 3, found 2"):
        three(states=AGES[:2])


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_list_of_states_is_cut_and_joined_with_its_elements(looked_at: bool) -> None:
    batch = three(states=AGES)
    if looked_at:
        assert batch.states is not None
    assert [int(element.state.get("age", 0)) for element in batch.get_elements(slice(None))] == [3, 4, 0]
    assert batch.slice(1, 3).get_states() == AGES[1:]
    assert BatchOps.select_batch_rows(batch, [True, False, True]).get_states() == [AGES[0], AGES[2]]
    assert BatchOps.concatenate_batch_sequence([batch, batch.slice(0, 1)]).get_states() == [*AGES, AGES[0]]
    assert [part.get_states() for part in batch.split_for_devices(3)] == [[state] for state in AGES]


def test_a_list_of_states_goes_through_transformations() -> None:
    batch = three(states=AGES)
    older = jax.jit(lambda batch: [state["age"] + 1 for state in batch.get_states()[:2]])(batch)
    assert [int(age) for age in older] == [4, 5]
    for again in (jax.tree.map(lambda leaf: leaf, batch), nnx.merge(*nnx.split(batch)), nnx.clone(batch)):
        assert int(again.get_states()[1]["age"]) == 4
        assert again.batch_size == 3


def test_metadata_may_be_none_where_nothing_is_known() -> None:
    batch = three(metadata_list=[Metadata(7), None, None])
    assert batch.metadata == [Metadata(7), UNKNOWN, UNKNOWN]
    assert Batch([Element({"x": 1.0}), Element({"x": 2.0}, metadata=Metadata(7))]).metadata == [UNKNOWN, Metadata(7)]


def test_parts_of_the_batch_as_a_whole() -> None:
    batch = three(batch_metadata={"from": "test"}, batch_state={"n": 1.0}, valid_mask=jnp.array([True, True, False]))
    assert batch.get_batch_metadata() == {"from": "test"}
    assert batch.get_batch_state() == {"n": 1.0}
    assert batch.valid_mask.tolist() == [True, True, False]
    mismatched = Batch.from_parts({"x": np.zeros(2), "y": np.zeros(3)}, {}, validate=False)
    assert list(mismatched) == ["x", "y"]


# --- what a Batch says about itself


def test_statistics_of_every_field() -> None:
    data = {"x": jnp.array([[1.0, 2.0], [3.0, 6.0]]), "deep": {"n": jnp.array([1, 4])}}
    stats = Batch.from_parts(data).compute_stats()
    assert set(stats) == {f"{name}_{what}" for name in ("x", "deep/n") for what in ("mean", "std", "min", "max")}
    assert stats["x_mean"].tolist() == [2, 4]
    assert stats["x_std"].tolist() == [1, 2]
    assert stats["x_min"].tolist() == [1, 2]
    assert stats["x_max"].tolist() == [3, 6]
    assert [float(stats[f"deep/n_{what}"]) for what in ("mean", "min", "max")] == [2.5, 1, 4]
    assert jax.jit(lambda batch: batch.compute_stats())(Batch.from_parts(data))["x_max"].tolist() == [3, 6]


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "bool", "bfloat16"])
def test_statistics_leave_padding_out(make: Callable[..., Any], dtype: str) -> None:
    values = np.array([1, 1, 0]).astype(jnp.dtype(dtype))
    stats = Batch.from_parts({"x": make(values)}, valid_mask=[True, True, False]).compute_stats()
    assert [float(stats[f"x_{what}"]) for what in ("mean", "std", "min", "max")] == [1, 0, 1, 1]
    assert isinstance(stats["x_mean"], jax.Array if make is jnp.asarray else (np.ndarray, np.generic))


# --- Element


def test_a_function_on_every_array_of_an_element_is_traced_and_differentiated() -> None:
    def loss(scale: jax.Array) -> jax.Array:
        element = Element({"x": jnp.arange(3.0), "deep": {"y": jnp.ones(())}}, metadata=Metadata(3, key="k"))
        done = element.apply_to_data(lambda array: array * scale)
        return done.data["x"].sum() + done.data["deep"]["y"]

    assert float(loss(jnp.float32(2))) == float(jax.jit(loss)(jnp.float32(2))) == 8
    assert float(jax.grad(loss)(jnp.float32(2))) == 4
    element = Element({"x": jnp.arange(3)}, metadata=Metadata(3, key="k"))
    done = jax.jit(lambda element: element.apply_to_data(lambda array: array * 2))(element)
    assert done.data["x"].tolist() == [0, 2, 4]
    assert done.metadata.record_key == "k"
    assert element.data["x"].tolist() == [0, 1, 2]


def test_elements_of_nothing() -> None:
    empty = create_element()
    assert (empty.data, empty.state, empty.metadata) == ({}, {}, None)
    full = create_element(data={"x": 1}, state={"s": 2}, metadata=Metadata(3))
    assert (full.data, full.state, full.metadata) == ({"x": 1}, {"s": 2}, Metadata(3))


# --- BatchOps


def test_joining_no_batches_gives_an_empty_one() -> None:
    empty = BatchOps.concatenate_batch_sequence([])
    assert (empty.batch_size, empty.get_data(), empty.metadata) == (0, {}, [])


@pytest.mark.parametrize("looked_at", [False, True])
def test_updating_in_place_adds_and_replaces_all_or_nothing(looked_at: bool) -> None:
    batch = three()
    if looked_at:
        assert batch.data is not None
    assert BatchOps.update_batch_inplace(batch, {"x": batch["x"] + 1, "y": jnp.zeros(3)}) is batch
    assert float(batch.data.get_value()["x"][0, 0]) == 1
    assert batch.data["y"].shape == (3,)
    with pytest.raises(ValueError, match=r"field 'z'.*\(3, \.\.\.\)"):
        BatchOps.update_batch_inplace(batch, {"y": jnp.ones(3), "z": jnp.zeros(4)})
    assert (list(batch), batch["y"].tolist()) == (["x", "y"], [0, 0, 0])


# --- making batches


def test_batches_of_arrays() -> None:
    batch = create_batch_from_arrays({"x": jnp.zeros((2, 3))}, [{"age": 1}, {"age": 2}], [Metadata(4), Metadata(5)])
    assert batch.get_states()["age"].tolist() == [1, 2]
    assert [item.index for item in batch.metadata] == [4, 5]
    assert create_batch_from_arrays({"x": jnp.zeros(2)}, {"age": jnp.zeros(2)}).get_states()["age"].shape == (2,)
    assert create_batch_from_arrays({"x": jnp.zeros(2)}).get_states() == {}
    assert create_batch_from_arrays({}).batch_size == 0
    with pytest.raises(ValueError, match="element 1, state 'age'"):
        create_batch_from_arrays({"x": jnp.zeros(2)}, [{"age": 1}, {}])
    with pytest.raises(ValueError, match="'x': 2, 'states/age': 3"):
        create_batch_from_arrays({"x": jnp.zeros(2)}, [{"age": 1}] * 3)


# --- control flow


def plus(batch: Batch, more: Any) -> Batch:
    return Batch.from_parts({"x": batch["x"] + more}, batch.get_states())


def test_one_of_two_functions_by_a_traced_condition() -> None:
    @jax.jit
    def run(batch: Batch, limit: Any) -> Batch:
        return conditional_transform(batch, lambda b: plus(b, 1), lambda b: plus(b, -1), batch["x"].sum() > limit)

    assert isinstance(run(three(), 0.0), Batch)
    assert run(three(), 0.0)["x"].tolist() == (three()["x"] + 1).tolist()
    assert run(three(), 99.0)["x"].tolist() == (three()["x"] - 1).tolist()
    assert conditional_transform(three(), lambda b: plus(b, 1), lambda b: b, False) == three()


def test_a_function_so_many_times() -> None:
    states = {"s": jnp.ones(3)}
    once = iterative_transform(three(states=states), plus, 4)
    assert once["x"].tolist() == (three()["x"] + 6).tolist()
    assert once.get_states()["s"].tolist() == [1, 1, 1]
    jitted = jax.jit(lambda batch, times: iterative_transform(batch, plus, times))
    assert jitted(three(states=states), 4) == once
    assert iterative_transform(three(), plus, 0) == three()


def test_a_function_while_something_holds() -> None:
    def small(batch: Batch) -> Any:
        return batch["x"].max() < 1000

    @jax.jit
    def run(batch: Batch) -> Batch:
        return while_transform(batch, small, lambda b: plus(b, b["x"]))

    assert float(run(three())["x"].max()) == 5 * 2**8
    assert float(while_transform(three(), small, lambda b: plus(b, b["x"]), max_iterations=3)["x"].max()) == 40
    assert float(while_transform(three(), lambda _: True, lambda b: plus(b, 1))["x"][0, 0]) == 100


# --- BatchView


def test_a_view_is_a_plain_mapping_of_the_arrays() -> None:
    data = {"x": np.arange(3), "y": np.zeros((3, 2))}
    view = BatchView(data, {"s": np.ones(3)}, 3)
    assert view["x"] is data["x"]
    assert "y" in view and "z" not in view
    assert list(view) == list(view.keys()) == ["x", "y"]
    assert [name for name, _ in view.items()] == ["x", "y"]
    assert len(list(view.values())) == len(view) == 2
    assert view.get("z") is None
    assert view.get_data() == data
    assert (view.batch_size, dict(view).keys()) == (3, {"x", "y"})
    assert (view == BatchView(data, {}, 3)) is False
    with pytest.raises(KeyError, match=r"no field 'z'.*\['x', 'y'\]"):
        view["z"]
    batch = view.to_batch()
    assert isinstance(batch, Batch)
    assert batch["x"] is data["x"]
    assert batch.get_states()["s"].tolist() == [1, 1, 1]
