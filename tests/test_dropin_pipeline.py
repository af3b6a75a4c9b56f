"""What a datarax script calls of ``Pipeline``, one test for each row of its table."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp import DeviceStage, MemorySource, MemorySourceConfig, Pipeline, RandomDeviceStage
from datarax_mp.core.element_batch import Batch


def source(length: int = 10, *, shuffle: bool = False) -> MemorySource:
    columns = {"x": np.arange(2 * length, dtype=np.float32).reshape(length, 2), "n": np.arange(length)}
    return MemorySource(MemorySourceConfig(shuffle=shuffle), columns, rngs=nnx.Rngs(0) if shuffle else None)


class Scale(nnx.Module):
    """A module that counts its batches."""

    def __init__(self, factor: float) -> None:
        self.factor, self.calls = nnx.Param(jnp.array(factor)), nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, batch: Any) -> Any:
        self.calls[...] += 1
        return {**batch, "x": batch["x"] * self.factor[...]}


def add(one: Any, other: Any) -> Any:
    return {**one, "x": one["x"] + other["x"]}


def shift(batch: Any) -> Any:
    return {**batch, "x": batch["x"] + 1}


# --- scan


def test_scan_stacks_what_a_step_gives_and_keeps_what_it_changes() -> None:
    scale = Scale(2.0)
    pipeline = Pipeline(source=source(), stages=[], batch_size=4, rngs=nnx.Rngs(0))
    sums = pipeline.scan(lambda module, batch: module(batch)["x"].sum(), length=3, modules=(scale,))
    assert sums.tolist() == [2.0 * sum(range(8)), 2.0 * sum(range(8, 16)), 2.0 * sum(range(16, 20))]
    assert int(scale.calls[...]) == 3


def test_scan_hands_a_carry_on() -> None:
    pipeline = Pipeline(source=source(8), stages=[], batch_size=4, rngs=nnx.Rngs(0))
    carry, out = pipeline.scan(
        lambda carry, batch: (carry + batch["n"].sum(), batch["n"].max()), length=4, init_carry=jnp.array(0)
    )
    assert (int(carry), out.tolist()) == (2 * sum(range(8)), [3, 7, 3, 7])


# --- step


def test_step_is_the_next_batch_as_a_dict_and_moves_on() -> None:
    with (
        Pipeline(source=source(shuffle=True), batch_size=4) as plain,
        Pipeline(source=source(shuffle=True), batch_size=4, num_workers=1) as pipeline,
    ):
        wanted = [batch["n"].tolist() for _ in range(2) for batch in plain]
        steps = [pipeline.step() for _ in range(6)]
        assert [type(step) for step in steps] == [dict] * 6
        assert [step["n"].tolist() for step in steps] == wanted
        assert pipeline.epoch == 1
    with (
        Pipeline(source=source(), batch_size=4, enforce_batch=False) as elements,
        pytest.raises(ValueError, match="about batches"),
    ):
        elements.step()


# --- __call__


def test_a_pipeline_that_is_called_applies_its_device_stages_alone() -> None:
    scale = Scale(3.0)
    with Pipeline(source=source(), batch_size=4, stages=[DeviceStage(shift), scale]) as pipeline:
        given = {"x": jnp.ones((4, 2)), "n": jnp.arange(4)}
        assert pipeline(given)["x"].tolist() == [[6.0, 6.0]] * 4
        assert given["x"].tolist() == [[1.0, 1.0]] * 4  # still there
        batch = Batch.from_parts(given, {"state": jnp.zeros(4)})
        called = pipeline(batch)
        assert isinstance(called, Batch)
        assert called["x"].tolist() == [[6.0, 6.0]] * 4
        assert called.get_states()["state"].shape == (4,)
        assert batch["x"].tolist() == [[1.0, 1.0]] * 4
        assert int(scale.calls[...]) == 2
        with pytest.raises(TypeError, match="got list"):
            pipeline([1])
    with Pipeline(source=source(), batch_size=4) as nothing:
        assert nothing(given) is given


def test_random_stages_draw_for_the_batch_that_comes_next() -> None:
    def noise(batch: Any, key: Any) -> Any:
        return {**batch, "x": batch["x"] + jax.random.normal(key, (2,))}

    def each(batch: Any, keys: Any) -> Any:
        return {**batch, "r": jax.vmap(lambda key: jax.random.normal(key))(keys)}

    stages = [RandomDeviceStage(noise), RandomDeviceStage(each, per_record=True)]
    with Pipeline(source=source(), batch_size=4, stages=stages, seed=0) as pipeline:
        given = {"x": jnp.arange(8.0).reshape(4, 2), "n": jnp.arange(4)}
        called = pipeline(given)
        first = next(iter(pipeline))
        assert np.array_equal(called["x"], first["x"])
        assert np.array_equal(called["r"], first["r"])  # its records are the first ones
        assert not np.array_equal(pipeline(given)["x"], first["x"])


# --- from_dag


def dag(nodes: dict[str, Any], edges: dict[str, Any], sink: str, **options: Any) -> Pipeline[Any]:
    return Pipeline.from_dag(
        source=source(), nodes=nodes, edges=edges, sink=sink, batch_size=4, **{"rngs": nnx.Rngs(0), **options}
    )


def test_stages_may_be_a_graph() -> None:
    nodes = {"shift": DeviceStage(shift), "double": lambda batch: {**batch, "x": batch["x"] * 2}, "add": add}
    edges = {"shift": [], "double": ["shift"], "add": ["shift", "double"]}
    for workers in (0, 1):
        with dag(nodes, edges, "add", num_workers=workers) as pipeline:
            x = np.concatenate([batch["x"] for batch in pipeline])
        assert np.array_equal(x, 3 * (np.arange(20).reshape(10, 2) + 1))
    with dag(nodes, edges, "double") as pipeline:
        assert next(iter(pipeline))["x"].tolist() == (2 * (np.arange(8).reshape(4, 2) + 1)).tolist()


def test_modules_in_a_graph_keep_what_they_change() -> None:
    two, three = Scale(2.0), Scale(3.0)
    with dag(
        {"two": two, "three": three, "add": add}, {"two": [], "three": [], "add": ["two", "three"]}, "add"
    ) as pipeline:
        assert next(iter(pipeline))["x"].tolist() == (5 * np.arange(8.0).reshape(4, 2)).tolist()
        list(pipeline)
    assert int(two.calls[...]) == int(three.calls[...]) >= 3


def test_random_nodes_draw_apart_and_alike_for_any_number_of_workers() -> None:
    noise = RandomDeviceStage(lambda batch, key: {"x": jax.random.normal(key, (4,))})
    nodes = {"one": noise, "other": noise, "both": lambda a, b: {"a": a["x"], "b": b["x"]}}
    edges = {"one": [], "other": [], "both": ["one", "other"]}
    drawn = []
    for workers in (0, 1):
        with dag(nodes, edges, "both", rngs=nnx.Rngs(1), num_workers=workers) as pipeline:
            drawn.append([np.asarray(batch[name]) for batch in pipeline for name in "ab"])
    assert np.array_equal(*drawn)
    assert len({array.tobytes() for array in drawn[0]}) == 6


@pytest.mark.parametrize(
    ("nodes", "edges", "sink", "error", "message"),
    [
        ({"a": shift, "b": shift}, {"a": ["b"], "b": ["a"]}, "a", ValueError, "in a circle: "),
        ({"a": shift}, {"a": ["c"]}, "a", ValueError, "no node 'c' among"),
        ({"a": shift}, {"c": ["a"]}, "a", ValueError, "no node 'c' among"),
        ({"a": shift}, {"a": []}, "c", ValueError, "sink='c' is none of the nodes"),
        ({"a": 3}, {"a": []}, "a", TypeError, "cannot be called"),
        ({"a": shift}, {"a": "a"}, "a", TypeError, "must be a list of nodes"),
        ([shift], {}, "a", TypeError, "nodes must be a dict"),
        ({"a": RandomDeviceStage(add, per_record=True)}, {}, "a", ValueError, "draws for each record"),
        ({"a": RandomDeviceStage(add), "b": Scale(1.0)}, {}, "a", ValueError, "in one graph"),
    ],
)
def test_what_is_no_graph_is_an_error(nodes: Any, edges: Any, sink: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dag(nodes, edges, sink)


# --- stages


def test_stages_are_those_that_were_given() -> None:
    scale, function = Scale(1.0), lambda record: record
    assert Pipeline(source=source(), batch_size=4, stages=(function, scale)).stages == [function, scale]
    assert Pipeline(source=source(), batch_size=4).stages == []
