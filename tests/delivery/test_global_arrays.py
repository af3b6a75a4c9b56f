"""Several JAX processes that train together, each with a pipeline over its part of the rows.

This file is also the program that each of them runs:

    python tests/delivery/test_global_arrays.py SCENARIO INDEX COUNT PORT FOLDER
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from datarax_mp import (
    Batch,
    DeviceStage,
    MemorySource,
    MemorySourceConfig,
    Pad,
    Pipeline,
    PipelineRestore,
    PipelineSave,
    RandomDeviceStage,
    ShardOptions,
)
from datarax_mp.delivery.global_arrays import shard_of_process
from datarax_mp.ring import Ring

SECONDS = 250  # only reached in case of a deadlock
EPOCHS = 2
CHECKPOINT_EVERY = 4  # steps
DIE_AFTER = 10  # steps: in the middle of the second epoch


def make(sharding: Any, *, rows: int = 16, **more: Any) -> Pipeline:
    """A pipeline whose global batches have so many rows, whatever the number of hosts."""
    shards = more.pop("shards", jax.process_count())
    random = np.random.default_rng(0)
    data = {"x": random.normal(size=(100, 16)).astype(np.float32), "n": np.arange(100)}
    source = MemorySource(MemorySourceConfig(shuffle=True), data, rngs=nnx.Rngs(0))
    more = {"pad_last": True, "num_workers": 1, **more}
    return Pipeline(source=source, batch_size=rows // shards, sharding=sharding, **more)


def rows_of_all() -> NamedSharding:
    """Rows split over all devices of all hosts."""
    return NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))


# --- what is trained


def weights() -> dict[str, jax.Array]:
    first, second = jax.random.split(jax.random.key(0))
    return {"in": jax.random.normal(first, (16, 32)) / 4, "out": jax.random.normal(second, (32, 1)) / 6}


@jax.jit
def train_step(params: dict[str, jax.Array], batch: Batch) -> dict[str, jax.Array]:
    def loss_of(params: dict[str, jax.Array]) -> jax.Array:
        guess = (jnp.tanh(batch["x"] @ params["in"]) @ params["out"])[:, 0]
        errors = (guess - jnp.sin(batch["n"])) ** 2
        return jnp.sum(errors * batch.valid_mask) / jnp.sum(batch.valid_mask)

    return jax.tree.map(lambda value, slope: value - 0.1 * slope, params, jax.grad(loss_of)(params))


class Halve(nnx.Module):
    """A stage with a parameter and a random stream, which lie on one device of each host."""

    def __init__(self) -> None:
        self.factor = nnx.Param(jnp.float32(0.5))
        self.rngs = nnx.Rngs(3)

    def __call__(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {**batch, "x": batch["x"] * self.factor[...] + self.rngs.normal(batch["x"].shape) / 8}


def scale_each(batch: dict[str, jax.Array], keys: jax.Array) -> dict[str, jax.Array]:
    """Random numbers of each record, wherever its row lies."""
    return {**batch, "x": batch["x"] * jax.vmap(jax.random.uniform)(keys)[:, None]}


def shift_all(batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Random numbers of the whole batch, of which each host makes its own rows'."""
    return {**batch, "x": batch["x"] + jax.random.normal(key, batch["x"].shape) / 8}


def train(folder: Path | None = None, *, die: bool = False) -> tuple[dict[str, jax.Array], int]:
    """Train on all devices there are, going on from the folder's checkpoint; also returns the steps that it took."""
    params, begun, left = weights(), 0, EPOCHS
    sharding = rows_of_all()
    manager = None if folder is None else ocp.CheckpointManager(folder / "checkpoints")
    # A stage that looks across the rows of all hosts, so all have to run it at the same place among their computations,
    # although they work ahead by different numbers of batches.
    centre = DeviceStage(lambda batch: {**batch, "x": batch["x"] - batch["x"].mean(axis=0)})
    random = [RandomDeviceStage(shift_all), RandomDeviceStage(scale_each, per_record=True)]
    with make(sharding, stages=[centre, *random, Halve()], prefetch_size=3 * jax.process_index()) as pipeline:
        if manager is not None and (newest := manager.latest_step()) is not None:
            everywhere = NamedSharding(sharding.mesh, PartitionSpec())
            model = ocp.args.StandardRestore(jax.device_put(params, everywhere))
            data = PipelineRestore(pipeline, elastic=True)
            params = manager.restore(newest, args=ocp.args.Composite(model=model, data=data))["model"]
            begun, left = newest, EPOCHS - pipeline.get_state()["epoch"]
        step = begun
        for _ in range(left):
            for batch in pipeline:
                params = train_step(params, batch)
                step += 1
                if manager is not None and step % CHECKPOINT_EVERY == 0:
                    model = ocp.args.StandardSave(params)
                    manager.save(step, args=ocp.args.Composite(model=model, data=PipelineSave(pipeline)))
                if die and step == DIE_AFTER:
                    jax.block_until_ready(params)
                    os.kill(os.getpid(), signal.SIGKILL)
    if manager is not None:
        manager.close()
    return params, step - begun


# --- what a host does


def train_until_the_end(folder: Path) -> dict[str, Any]:
    crossed = NamedSharding(Mesh(np.array(jax.devices())[[0, 2, 1, 3]], ("data",)), PartitionSpec("data"))
    with make(crossed) as pipeline:  # each host's two devices are no neighbours in the mesh
        batch = next(iter(pipeline))
        blocks = sorted(batch["n"].addressable_shards, key=lambda shard: shard.index[0].start)
        assert [shard.index[0].start for shard in blocks] == [4 * jax.process_index(), 4 * jax.process_index() + 8]
        assert [n for shard in blocks for n in shard.data.tolist()] == [item.index for item in batch.metadata]
    unequal = pytest.raises(ValueError, match="a batch of 3 rows on each of 2 hosts cannot be split over 4 devices")
    with unequal:
        make(rows_of_all(), rows=6)
    params, steps = train(folder)
    return {"steps": steps, **{name: np.asarray(value) for name, value in params.items()}}


def train_until_host_1_dies(folder: Path) -> dict[str, Any]:
    return train(folder, die=jax.process_index() == 1)[0]


def total(batch: Batch) -> jax.Array:
    return jnp.sum(batch["n"])


def read_beside_a_replica(_: Path) -> dict[str, Any]:
    """Four hosts with a device each, of which two hold the same rows; and what is an error on such hosts."""
    devices = np.array(jax.devices())
    mesh = Mesh(devices.reshape(2, 2), ("data", "replica"))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    group = jax.process_index() // 2
    seen = []
    with make(sharding, shards=2, shard="jax") as pipeline:
        iterator = iter(pipeline)
        [ring] = [known for known in gc.get_objects() if isinstance(known, Ring)]
        memory = np.frombuffer(ring.memory, np.uint8)
        start = memory.__array_interface__["data"][0]
        for batch in iterator:
            [here] = batch["x"].addressable_shards
            assert start <= here.data.unsafe_buffer_pointer() < start + memory.nbytes
            assert here.index[0] == slice(8 * group, 8 * group + 8)
            assert batch["x"].sharding == sharding
            assert batch["x"].shape == (batch.batch_size, 16) == (16, 16)
            assert batch.valid_mask.shape == (16,)
            assert batch.valid_mask.sharding.is_equivalent_to(sharding, 1)
            mine = np.asarray(batch["n"].addressable_shards[0].data)
            mask = np.asarray(batch.valid_mask.addressable_shards[0].data)
            assert [item.index for item in batch.metadata] == [n if ok else None for n, ok in zip(mine, mask)]  # noqa: B905
            seen.append(mine)
        with pytest.raises(ValueError, match="spread over several processes"):
            batch.get_element(0)
    with make(sharding, shards=2, pad_last=False, drop_last=True, shard=ShardOptions(group, 2)) as pipeline:
        for batch in pipeline:  # nothing is padded, and still the mask fits the arrays
            assert jnp.sum(batch["n"] * batch.valid_mask) == jnp.sum(batch["n"])
    with make(NamedSharding(mesh, PartitionSpec(None, "data")), shards=1, drop_last=False) as pipeline:
        batch = next(iter(pipeline))  # rows are not split at all: every host reads all of them
        assert batch["x"].addressable_shards[0].data.shape == (16, 8)
        assert batch["n"].addressable_shards[0].data.tolist() == [item.index for item in batch.metadata]  # no such axis
        assert len(batch.metadata) == 16
    fields = {"x": NamedSharding(mesh, PartitionSpec("data", "replica")), "n": PartitionSpec("data")}
    with jax.set_mesh(mesh), make(fields, shards=2, drop_last=True, pad_last=False) as pipeline:
        several = next(pipeline.stacked(2))
        assert several["x"].shape == (2, 16, 16)
        assert several["x"].addressable_shards[0].data.shape == (2, 8, 8)
        assert several["n"].addressable_shards[0].data.tolist() == [
            [item.index for item in step] for step in several.metadata
        ]
        sums = pipeline.scan(total, length=4)
    with jax.set_mesh(mesh), pytest.raises(ValueError, match=r"field 'n': this process .*let none replicate them"):
        make({**fields, "n": None}, shards=2)
    with pytest.raises(ValueError, match=r"shard=ShardOptions\(index=3, count=7\).* the rows of ShardOptions"):
        make(sharding, shards=2, shard=ShardOptions(3, 7))
    with pytest.raises(ValueError, match="with 2 shards"):
        make(sharding, shards=2, pad_last=False)
    stages = [Pad("text", 8, to="longest")]
    with pytest.raises(ValueError, match=r"'text' may be of another length .* of 2 hosts.* to='fixed'"):
        Pipeline(source=[{"text": np.arange(4)}] * 8, batch_size=4, stages=stages, drop_last=True, sharding=sharding)
    with make(sharding, shards=2, stages=[DeviceStage(lambda batch: batch["y"])]) as pipeline:
        iterator = iter(pipeline)
        with pytest.raises(KeyError, match="y"):
            next(iterator)
        assert iterator.get_state()["step"] == 0
        assert list(iterator) == []
    half = NamedSharding(Mesh(devices[:2], ("data",)), PartitionSpec("data"))
    if group:
        with pytest.raises(ValueError, match=rf"process {jax.process_index()} has no device .* only \[0, 1\]"):
            make(half)
    return {"seen": np.stack(seen), "sums": np.asarray(sums)}


SCENARIOS: dict[str, Callable[[Path], dict[str, Any]]] = {
    function.__name__: function for function in (train_until_the_end, train_until_host_1_dies, read_beside_a_replica)
}


def host() -> None:
    scenario, index, count, port, folder = sys.argv[1:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", int(count), int(index))
    result = SCENARIOS[scenario](Path(folder))
    np.savez(Path(folder) / f"host-{index}.npz", **result)


# --- the tests


def free_port() -> int:
    """One that the system gives to nobody by itself, neither now nor until it is taken seconds later."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)  # below those that connections get
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("", port))
            return port


Start = Callable[..., list[subprocess.Popen[str]]]


@pytest.fixture(scope="module")
def start_hosts() -> Iterator[Start]:
    """Start so many hosts with so many devices each; none outlives the tests."""
    started: list[subprocess.Popen[str]] = []

    def start(scenario: Callable[[Path], Any], folder: Path, *, count: int, devices: int) -> list:
        port = free_port()
        environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        for index in range(count):
            arguments = [scenario.__name__, str(index), str(count), str(port), str(folder)]
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            command = [sys.executable, "-W", "error", __file__, *arguments]
            started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-count:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def results(hosts: list[subprocess.Popen[str]], folder: Path) -> list[dict[str, np.ndarray]]:
    """What the hosts have found out, when all have ended well."""
    for process in hosts:
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors
    return [dict(np.load(folder / f"host-{index}.npz")) for index in range(len(hosts))]


@pytest.fixture(scope="module")
def never_killed(start_hosts: Start, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    """What two hosts with two devices each get when nothing happens to them."""
    folder = tmp_path_factory.mktemp("never-killed")
    return results(start_hosts(train_until_the_end, folder, count=2, devices=2), folder)


def test_two_hosts_train_the_same_model_as_one(never_killed: list[dict[str, np.ndarray]]) -> None:
    """This process has as many devices as both together, and gets the same but for the last bit of some values.

    The rows are the same on every device, and what differs is the order in which the sum of the devices' gradients is
    added up: hosts talk through Gloo, devices of one process do not.
    """
    alone, steps = train()
    assert steps == 14
    for result in never_killed:
        assert result["steps"] == 14
        for name, value in alone.items():
            assert np.allclose(result[name], value, rtol=1e-5, atol=1e-6)
            assert np.array_equal(result[name], never_killed[0][name])


def test_global_arrays_that_hold_replicas_read_the_same_rows(start_hosts: Start, tmp_path: Path) -> None:
    hosts = start_hosts(read_beside_a_replica, tmp_path, count=4, devices=1)
    found = results(hosts, tmp_path)
    seen = [result["seen"] for result in found]
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[2], seen[3])
    with make(None) as pipeline:
        expected = np.stack([batch["n"] for batch in pipeline])
    assert np.array_equal(np.concatenate([seen[0], seen[2]], axis=1), expected)
    with make(None, pad_last=False, drop_last=True) as pipeline:
        sums = [int(batch["n"].sum()) for batch in pipeline]
    assert all(result["sums"].tolist() == sums[2:6] for result in found)


def test_after_a_host_was_killed_all_go_on_from_the_last_checkpoint_and_so_does_one_host_alone(
    start_hosts: Start, never_killed: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    hosts = start_hosts(train_until_host_1_dies, tmp_path, count=2, devices=2)
    hosts[1].communicate(timeout=SECONDS)
    assert hosts[1].returncode == -signal.SIGKILL
    hosts[0].kill()  # it waits for the other one
    hosts[0].communicate()
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "one host" / "checkpoints")
    again = start_hosts(train_until_the_end, tmp_path, count=2, devices=2)
    alone, _ = train(tmp_path / "one host")
    for result in results(again, tmp_path):
        assert result["steps"] in (14 - 8, 14 - 4)  # the checkpoint of step 8 was written in the background
        for name in weights():
            assert np.array_equal(result[name], never_killed[0][name])
            assert np.allclose(result[name], alone[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("blocks", "shards"),
    [
        ({0: {0}, 1: {1}}, [(0, 2), (1, 2)]),
        ({0: {2, 3}, 1: {0, 1}}, [(1, 2), (0, 2)]),
        ({0: {0, 2}, 1: {1, 3}, 2: {0, 2}, 3: {1, 3}}, [(0, 2), (1, 2), (0, 2), (1, 2)]),
        ({0: {0}, 1: {0}}, [(0, 1), (0, 1)]),
        ({4: {5}, 9: {3}, 11: {4}}, [(2, 3), (0, 3), (1, 3)]),
    ],
)
def test_a_shard_is_the_processes_that_hold_the_same_rows(blocks: Any, shards: Any) -> None:
    held = {process: frozenset(mine) for process, mine in blocks.items()}
    assert [shard_of_process(held, process) for process in held] == [ShardOptions(*shard) for shard in shards]


@pytest.mark.parametrize("blocks", [{0: {0, 1}, 1: {1, 2}}, {0: {0, 1}, 1: {2}}, {0: {0, 1}, 1: {1}, 2: {0}}])
def test_rows_that_hosts_share_only_in_part_are_an_error_that_says_who_holds_what(blocks: Any) -> None:
    held = {process: frozenset(mine) for process, mine in blocks.items()}
    with pytest.raises(ValueError, match=r"the same row blocks.* process 0: \[0, 1\], process 1: \["):
        shard_of_process(held, 0)


if __name__ == "__main__":
    host()
