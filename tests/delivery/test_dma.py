"""Memory that is registered with an accelerator's client; the client is a fake, which records its calls."""

from __future__ import annotations

import gc
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from datarax_mp import Pipeline
from datarax_mp.delivery import dma
from datarax_mp.delivery.per_field import FieldShardings
from datarax_mp.delivery.place import Place
from datarax_mp.ring import Ring

pytestmark = pytest.mark.needs("proc")  # to see what is mapped

DATA = {"x": np.arange(64 * 5000, dtype=np.float32).reshape(64, 5000)}


def mapped(address: int) -> bool:
    return any(line.startswith(f"{address:x}-") for line in Path("/proc/self/maps").read_text().splitlines())


@dataclass(eq=False)
class Client:
    """Records what is registered, and whether that was there when it was given back."""

    error: Exception | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def dma_map(self, address: int, size: int) -> None:
        if self.error is not None:
            self.calls.append(("refused",))
            raise self.error
        self.calls.append(("map", address, size))

    def dma_unmap(self, address: int) -> None:
        self.calls.append(("unmap", address, mapped(address)))


@dataclass(eq=False)
class Device:
    """An accelerator."""

    client: Any
    platform: str = "gpu"


@pytest.fixture(autouse=True)
def arriving(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What is copied arrives, unless this is made false."""
    arrives = [True]
    monkeypatch.setattr(dma, "_there_and_back", lambda array, _: array.copy() if arrives[-1] else array * 0)
    monkeypatch.setattr(dma, "_refusing", {})
    return arrives


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """That of the device to which all pipelines believe their arrays to go."""
    client = Client()
    monkeypatch.setattr(Place, "device", lambda self: None if self.output == "numpy" else Device(client))
    return client


def ring(shared: bool = True) -> Ring:
    return Ring(3, mmap.PAGESIZE, shared=shared, kind=dma.memory_class())


@pytest.mark.parametrize("shared", [True, False])
def test_a_ring_is_given_back_before_it_is_unmapped_and_when_its_last_array_has_died(shared: bool) -> None:
    client, made = Client(), ring(shared)
    assert dma.register(made.memory, client, Device(client))
    [(call, address, size)] = client.calls
    assert (call, size) == ("map", 3 * mmap.PAGESIZE)
    slot = made.acquire()
    assert slot is not None
    array = np.ndarray((8,), np.uint8, made.lease(slot))
    made.close()
    del made
    gc.collect()
    assert len(client.calls) == 1
    assert mapped(address)
    del array
    gc.collect()
    assert client.calls[1:] == [("unmap", address, True)]
    assert not mapped(address)


@pytest.mark.parametrize("error", [RuntimeError("UNIMPLEMENTED"), TypeError("3 arguments")])
def test_a_client_that_refuses_is_not_asked_again(error: Exception) -> None:
    client = Client(error)
    device = Device(client)
    assert dma.dma_client(device) is client
    assert not dma.register(ring().memory, client, device)
    assert dma.dma_client(device) is None
    gc.collect()
    assert client.calls == [("refused",)]


def test_a_client_without_such_functions_is_one_that_refuses() -> None:
    device = Device(object())
    assert not dma.register(ring().memory, device.client, device)
    assert dma.dma_client(device) is None


def test_a_client_from_whose_memory_something_else_arrives_is_one_that_refuses(arriving: list[bool]) -> None:
    arriving.append(False)
    client = Client()
    device = Device(client)
    assert not dma.register(ring().memory, client, device)
    assert dma.dma_client(device) is None
    gc.collect()
    assert [call[0] for call in client.calls] == ["map", "unmap"]


def test_the_cpu_is_not_asked() -> None:
    assert dma.dma_client(Device(Client(), platform="cpu")) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_registers_its_ring_once_and_gives_it_back_when_nobody_looks_at_it(
    client: Client, workers: int
) -> None:
    with Pipeline(source=DATA, batch_size=8, num_workers=workers) as pipeline:
        for _ in range(2):
            for batch, wanted in zip(pipeline, DATA["x"].reshape(8, 8, 5000), strict=True):
                assert np.array_equal(batch["x"], wanted)
        kept = next(iter(pipeline))
    gc.collect()
    assert [call[0] for call in client.calls] == ["map"]
    assert np.array_equal(kept["x"], DATA["x"][:8])
    del kept, batch
    gc.collect()
    assert [call[0] for call in client.calls] == ["map", "unmap"]
    assert client.calls[1] == ("unmap", client.calls[0][1], True)


def test_the_device_in_question_is_one_that_arrays_go_to() -> None:
    devices = jax.devices()
    mesh = Mesh(np.array(devices[2:]), ("data",))
    by_field = FieldShardings(((("x",), NamedSharding(mesh, PartitionSpec("data"))),))
    assert Place("numpy", None, None, False).device() is None
    assert Place("jax", devices[1], None, False).device() is devices[1]
    assert Place("jax", None, NamedSharding(mesh, PartitionSpec("data")), False).device() is devices[2]
    assert Place("jax", None, by_field, False).device() is devices[2]
    anywhere = Place("jax", None, None, False)
    assert anywhere.device() is devices[0]
    for default, found in ((devices[3], devices[3]), ("cpu", devices[0])):
        with jax.default_device(default):
            assert anywhere.device() is found


def test_numpy_output_registers_nothing(client: Client) -> None:
    with Pipeline(source=DATA, batch_size=8, num_workers=1, output="numpy") as pipeline:
        list(pipeline)
    assert client.calls == []


def test_a_pipeline_whose_client_refuses_works_all_the_same(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.error = RuntimeError("no memory may be locked")
    caplog.set_level("INFO", "datarax_mp")
    for _ in range(2):
        with Pipeline(source=DATA, batch_size=8, num_workers=1) as pipeline:
            assert len(list(pipeline)) == 8
    assert client.calls == [("refused",)]
    assert "no memory may be locked" in caplog.text
