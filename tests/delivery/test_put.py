"""The short way to the device: nobody can tell it from ``jax.device_put``, and without it everything works."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from jax._src.lib import xla_client
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from datarax_mp import DeviceStage, Pipeline
from datarax_mp.delivery.put import make_put, put_among
from datarax_mp.feed.host_batch import aligned_copy

MESH = Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model"))
PLACES = {
    "default": None,
    "device": jax.devices()[1],
    "single": SingleDeviceSharding(jax.devices()[2]),
    "rows": NamedSharding(MESH, PartitionSpec("data")),
    "all": NamedSharding(MESH, PartitionSpec(("model", "data"))),
    "replicated": NamedSharding(MESH, PartitionSpec()),
    "columns": NamedSharding(MESH, PartitionSpec(None, "model")),
    "explicit": NamedSharding(jax.make_mesh((4,), ("x",), (jax.sharding.AxisType.Explicit,)), PartitionSpec("x")),
}


def replace(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    """Put others in the place of jaxlib's functions, for whoever looks for them from now on; JAX itself keeps them."""
    monkeypatch.setitem(sys.modules, "jax._src.lib", SimpleNamespace(xla_client=SimpleNamespace(**members)))


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which function moved an array, call by call; nothing is known of earlier arrays."""
    found: list[str] = []

    def recording(name: str, function: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> Any:
            found.append(name)
            return function(*args, **kwargs)

        return record

    monkeypatch.setattr(jax, "device_put", recording("public", jax.device_put))
    replace(monkeypatch, batched_device_put=recording("short", xla_client.batched_device_put))
    put_among.cache_clear()
    yield found
    put_among.cache_clear()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.bool_, np.complex64, ml_dtypes.bfloat16])
def test_an_array_is_what_device_put_makes_of_it(place: Any, dtype: Any, calls: list[str]) -> None:
    put = make_put(place)
    for shape in ((8, 4), (4, 6, 3), (0, 4)):
        array = aligned_copy(np.arange(np.prod(shape)).reshape(shape).astype(dtype))
        expected = jax.device_put(array, place)
        put(array)
        calls.clear()
        for _ in range(3):
            found = put(array)
            assert (found.aval, found.sharding, found.committed) == (
                expected.aval,
                expected.sharding,
                expected.committed,
            )
            assert found.dtype == dtype
            assert np.array_equal(found, array)
        assert calls == ["short"] * 3


def test_a_jitted_function_is_compiled_once_for_both_ways() -> None:
    traced = []

    @jax.jit
    def total(array: jax.Array) -> jax.Array:
        traced.append(array.shape)
        return array.sum()

    for place in PLACES.values():
        traced.clear()
        put = make_put(place)
        assert {int(total(put(np.ones((8, 4), np.int32)))) for _ in range(3)} == {32}
        assert len(traced) == 1
        total(jax.device_put(np.ones((8, 4), np.int32), place))
        assert len(traced) == 1
        jax.clear_caches()


def test_the_default_device_is_asked_every_time(calls: list[str]) -> None:
    put, array = make_put(None), np.ones(4, np.int32)
    first, second = jax.devices()[:2]
    with jax.default_device(second):
        assert put(array).devices() == {second}
    assert put(array).devices() == {first}
    assert put(array).devices() == {first}
    calls.clear()
    with jax.default_device(second):
        assert put(array).devices() == {second}
    assert not put(array).committed
    assert calls == ["public", "short"]


def test_64_bit_types_stay_what_the_pipeline_was_made_for() -> None:
    with jax.enable_x64(True):
        put = make_put(jax.devices()[0])
        put(np.arange(3))
    assert put(np.arange(3) << 40).tolist() == [0, 1 << 40, 1 << 41]
    assert make_put(jax.devices()[1])(np.arange(3)).dtype == np.int32  # as device_put has it


def test_a_transfer_guard_against_implicit_transfers_lets_all_batches_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datarax_mp.delivery.grouped.PATIENCE", 50)
    rows = NamedSharding(MESH, PartitionSpec("data"))
    stage = DeviceStage(lambda batch: {**batch, "x": batch["x"] * 2})
    for options in ({}, {"pad_last": True}, {"sharding": rows, "pad_last": True}, {"stages": [stage]}):
        with Pipeline(source={"x": np.arange(1003)}, batch_size=4, **options) as pipeline:
            with jax.transfer_guard("disallow"):
                batches = list(pipeline)
            assert len(batches) == 251


def test_a_transfer_guard_against_all_transfers_is_heeded() -> None:
    put, array = make_put(None), np.ones(4, np.int32)
    for _ in range(2):
        with jax.transfer_guard("disallow_explicit"), pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed"):
            put(array)
        put(array)


def gone(*args: Any, **kwargs: Any) -> Any:
    raise TypeError("batched_device_put(): incompatible function arguments")


def something_else(aval: Any, sharding: Any, arrays: Any, devices: Any, committed: bool, **others: Any) -> Any:
    return jax.numpy.zeros(aval.shape, aval.dtype)


@pytest.mark.parametrize("members", [{}, {"batched_device_put": gone}, {"batched_device_put": something_else}])
def test_a_jaxlib_that_has_it_no_more_or_has_another_one_costs_nothing_but_time(
    members: dict[str, Any], monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    replace(monkeypatch, **members)
    put = make_put(None)
    for number in range(1, 4):
        assert put(np.full(3, number, np.int32)).tolist() == [number] * 3
    assert calls == ["public"] * 3
