"""Device and sharding: what people pass is taken, and what cannot be is an error when the pipeline is made."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from datarax_mp import Filter, MapBatch, Pad, Pipeline

P = PartitionSpec
DEVICES = jax.devices()
ROWS = Mesh(np.array(DEVICES), ("data",))
GRID = Mesh(np.array(DEVICES).reshape(2, 2), ("data", "model"))
DATA = {"image": np.arange(16 * 4 * 6, dtype=np.float32).reshape(16, 4, 6), "label": np.arange(16)}

both = pytest.mark.parametrize("workers", [0, 2])


def make(**more: Any) -> Pipeline:
    return Pipeline(**{"source": DATA, "batch_size": 8, **more})


def entered(mesh: Mesh) -> AbstractContextManager[Any]:
    """``with mesh``, of which JAX warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mesh.__enter__()

    class Leave(nullcontext[None]):
        def __exit__(self, *_: object) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mesh.__exit__(None, None, None)

    return Leave()


@both
@pytest.mark.parametrize(
    ("asked", "found"),
    [(DEVICES[2], 2), (0, 0), (3, 3), (np.int64(1), 1), ("cpu", 0), ("cpu:2", 2)],
    ids=lambda value: str(value),
)
def test_a_device_is_what_people_call_it(asked: Any, found: int, workers: int) -> None:
    with make(device=asked, num_workers=workers) as pipeline:
        for batch in pipeline:
            assert batch["image"].devices() == batch["label"].devices() == {DEVICES[found]}


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (4, ValueError, r"device=4: there is no such device; this process has \[.*CpuDevice\(id=3\)"),
        (-1, ValueError, "device=-1: there is no such device"),
        ("cpu:4", ValueError, "device='cpu:4': there is no such device"),
        ("cpu:x", ValueError, "device='cpu:x': there is no such device"),
        ("warp", ValueError, "device='warp': JAX has no platform 'warp' here"),
        ("", ValueError, "device=''"),
        (True, TypeError, "device must be a jax.Device, an int, or a name .*got bool"),
        (1.0, TypeError, "got float"),
        (DEVICES, TypeError, "got list; to split batches over several devices, give sharding a Mesh"),
        (NamedSharding(ROWS, P()), TypeError, "got NamedSharding; give it as sharding"),
        (ROWS, TypeError, "got Mesh; give it as sharding"),
        (P("data"), TypeError, "give it as sharding"),
        (np.arange(2), TypeError, "got ndarray"),
    ],
    ids=str,
)
def test_no_device_is_an_error_at_once(asked: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(device=asked)


@both
def test_a_spec_counts_for_the_mesh_in_force_when_the_pipeline_is_made(workers: int) -> None:
    for in_force in (jax.set_mesh(GRID), entered(GRID)):
        with in_force:
            pipeline = make(sharding=P("data"), num_workers=workers)
        with pipeline:
            for batch in pipeline:
                assert batch["label"].sharding.is_equivalent_to(NamedSharding(GRID, P("data")), 1)
                assert batch["image"].addressable_shards[0].data.shape == (4, 4, 6)
            assert batch["label"].tolist() == list(range(8, 16))


def test_a_batch_that_was_sharded_under_a_mesh_is_used_under_it() -> None:
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh), make(sharding=P("data"), num_workers=1) as pipeline:
        batch = next(iter(pipeline))
        assert jax.typeof(batch["image"]).sharding.spec == P("data", None, None)
        total = jax.jit(lambda batch: (batch["image"] * 2).sum(axis=(1, 2)))(batch)
        assert np.allclose(total, DATA["image"][:8].sum((1, 2)) * 2)


@both
@pytest.mark.parametrize("mesh", [ROWS, GRID], ids=["rows", "grid"])
def test_a_mesh_splits_rows_over_its_first_axis(mesh: Mesh, workers: int) -> None:
    with make(sharding=mesh, num_workers=workers) as pipeline:
        for batch in pipeline:
            assert batch["label"].sharding == NamedSharding(mesh, P("data"))


@both
@pytest.mark.parametrize("spec", [P("data", None, "model"), P(None, "model"), P(("data", "model"), None, None, None)])
def test_a_spec_longer_than_a_field_has_axes_counts_as_far_as_they_go(spec: P, workers: int) -> None:
    with make(sharding=NamedSharding(GRID, spec), num_workers=workers) as pipeline:
        for step, batch in enumerate(pipeline):
            for name, axes in (("image", 3), ("label", 1)):
                short = NamedSharding(GRID, P(*spec[:axes]))
                assert batch[name].sharding.is_equivalent_to(short, axes)
                assert np.array_equal(batch[name], DATA[name][step * 8 : step * 8 + 8])


@both
def test_a_sharding_of_one_device_is_taken(workers: int) -> None:
    with make(sharding=SingleDeviceSharding(DEVICES[3]), num_workers=workers) as pipeline:
        assert all(batch["image"].devices() == {DEVICES[3]} for batch in pipeline)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (P("data"), ValueError, r"needs a mesh: make the pipeline under jax.set_mesh\(mesh\), or give NamedSharding"),
        (Mesh(np.array(DEVICES[0]), ()), ValueError, "a Mesh without axes"),
        (NamedSharding(ROWS.abstract_mesh, P("data")), ValueError, "AbstractMesh, which names no devices"),
        (NamedSharding(ROWS, P(P.UNCONSTRAINED)), ValueError, "leaves an axis open"),
        ("data", TypeError, r"got 'data' of type str; such as PartitionSpec\('data'\)"),
        (("data", None), TypeError, "of type tuple; such as PartitionSpec"),
        (DEVICES[0], TypeError, "give it as device"),
        (DEVICES, TypeError, "of type list"),
        (0, TypeError, "of type int"),
    ],
    ids=str,
)
def test_no_sharding_is_an_error_at_once(asked: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(sharding=asked)


def test_a_spec_that_does_not_fit_the_mesh_in_force_is_an_error_that_names_both() -> None:
    with jax.set_mesh(ROWS), pytest.raises(ValueError, match=r"sharding=.*'model'.* does not fit the mesh .*'data'"):
        make(sharding=P("model"))


def test_rows_that_do_not_divide_are_an_error_when_the_pipeline_is_made() -> None:
    with pytest.raises(ValueError, match="a batch of 6 rows cannot be split over 4 devices .*choose a batch_size"):
        make(batch_size=6, sharding=ROWS)
    with pytest.raises(ValueError, match=r"the last batch of 2 rows .*drop_last=True or pad_last=True"):
        Pipeline(source=np.arange(66), batch_size=8, sharding=ROWS)
    for fit in ({"drop_last": True}, {"pad_last": True}):
        with Pipeline(source=np.arange(66), batch_size=8, sharding=ROWS, **fit) as pipeline:  # type: ignore[arg-type]
            assert all(batch["value"].sharding == NamedSharding(ROWS, P("data")) for batch in pipeline)


def test_rows_that_a_filter_leaves_are_checked_when_they_are_known() -> None:
    stages = [Filter(lambda record: record["label"] < 10)]
    with make(sharding=ROWS, stages=stages) as pipeline, pytest.raises(ValueError, match="the last batch of 2 rows"):
        iter(pipeline)


def test_rows_of_an_epoch_that_is_entered_elastically_are_checked_when_it_is() -> None:
    with make(batch_size=2) as before:
        next(iter(before))
        state = before.get_state()
    with make(sharding=ROWS) as pipeline:
        with pytest.raises(ValueError, match="the last batch of 6 rows .*drop_last=True or pad_last=True"):
            pipeline.set_state(state, elastic=True)
        assert len(list(pipeline)) == 2  # and the pipeline is what it was
    with make(sharding=ROWS, pad_last=True) as pipeline:
        pipeline.set_state(state, elastic=True)
        assert [batch.batch_size for batch in pipeline] == [8, 8]


WIDTH = r"field 'wide': axis 2 of \(rows, 4, 5\), which is 5 long, cannot be split into 2 equal parts as .*'model'"


@pytest.mark.parametrize("more", [{}, {"pad_last": True}, {"num_workers": 2}], ids=str)
def test_a_width_that_does_not_divide_is_an_error_that_names_field_and_axis(more: Any) -> None:
    data = {"deep": {"image": DATA["image"]}, "wide": np.zeros((16, 4, 5))}
    sharding = NamedSharding(GRID, P("data", None, "model"))
    with pytest.raises(ValueError, match=WIDTH):
        Pipeline(source=data, batch_size=8, sharding=sharding, **more)


@both
def test_a_width_that_only_the_users_code_knows_is_an_error_before_the_first_batch(workers: int) -> None:
    class Wide:
        def __len__(self) -> int:
            return 16

        def __getitem__(self, number: int) -> Any:
            return {"wide": np.zeros((4, 5))}

    sharding = NamedSharding(GRID, P("data", None, "model"))
    with (
        Pipeline(source=Wide(), batch_size=8, num_workers=workers, sharding=sharding) as pipeline,
        pytest.raises(ValueError, match=WIDTH),
    ):
        iter(pipeline)


def test_an_axis_of_varying_length_cannot_be_split_and_a_fixed_one_can() -> None:
    records = [{"tokens": np.arange(number + 1)} for number in range(8)]
    sharding = NamedSharding(GRID, P("data", "model"))
    with pytest.raises(ValueError, match=r"'tokens' may be of another length .*axis 1 .* 2 parts .*to='fixed'"):
        Pipeline(source=records, batch_size=4, stages=[Pad("tokens", 8, to="longest")], sharding=sharding)
    with Pipeline(source=records, batch_size=4, stages=[Pad("tokens", 8, to="fixed")], sharding=sharding) as pipeline:
        assert all(batch["tokens"].addressable_shards[0].data.shape == (2, 4) for batch in pipeline)


def test_fields_that_a_stage_makes_are_checked_as_they_are_delivered() -> None:
    widen = MapBatch(lambda batch: {"image": np.repeat(batch["image"], 3, axis=2)[:, :, :9]})
    sharding = NamedSharding(GRID, P("data", None, "model"))
    with make(stages=[widen], sharding=sharding) as pipeline, pytest.raises(ValueError, match="which is 9 long"):
        iter(pipeline)


def test_numpy_output_takes_neither_and_says_so() -> None:
    for given in ({"device": 0}, {"device": "cpu"}, {"sharding": P("data")}):
        with pytest.raises(ValueError, match="need output='jax'"):
            make(output="numpy", **given)
