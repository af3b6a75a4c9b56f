"""Train on two hosts, lose one of them, and go on with the other: two processes on this machine, with Orbax.

    python examples/several_hosts.py
    python examples/several_hosts.py --num-workers 0

The network of ``train_digits.py``. Each process has a device of its own; a ``NamedSharding`` over both makes global
arrays, of which every process reads its own rows. After 30 steps they save the model and the position in the data and
end. Then one process alone goes on from there: with ``elastic=True`` it begins at the very record that comes next,
although it takes all rows of a batch now.

One sees which records each process read, and the accuracy on held-out digits. The exit code is 1 if a record came twice
or not at all in the epoch that was begun by two and ended by one, or if the accuracy is below 90 %.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from train_digits import count_correct, read_digits, start, train_step

from datarax_mp import Pipeline

try:
    import orbax.checkpoint as ocp
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]"', name=error.name
    ) from error

BATCH = 32  # rows of a global batch
HOSTS, FIRST_STEPS, EPOCHS = 2, 30, 4
LEAST_ACCURACY = 0.9


def train(folder: Path, num_workers: int) -> None:
    """What a process does: train on the devices of all, or go on alone where they have stopped."""
    hosts = jax.process_count()
    mesh = Mesh(np.array(jax.devices()), ("data",))
    digits, held_out = read_digits()
    columns = {**digits, "number": np.arange(len(digits["label"]))}
    pipeline = Pipeline(
        source=columns,
        batch_size=BATCH // hosts,
        shuffle=True,
        seed=0,
        pad_last=True,
        num_workers=num_workers,
        sharding=NamedSharding(mesh, PartitionSpec("data")),
    )
    model, optimizer = start(EPOCHS * len(pipeline))
    everywhere = NamedSharding(mesh, PartitionSpec())
    graph, state = nnx.split((model, optimizer))
    saved = folder / "model"
    if saved.exists():
        with ocp.StandardCheckpointer() as checkpointer:
            state = checkpointer.restore(saved, state)
        pipeline.set_state(json.loads((folder / "data.json").read_text()), elastic=True)
    model, optimizer = nnx.merge(graph, jax.device_put(state, everywhere))

    steps, read = 0, list[int]()
    with pipeline:
        while pipeline.epoch < EPOCHS and (hosts == 1 or steps < FIRST_STEPS):
            epoch = pipeline.epoch
            if jax.process_index() == 0:
                print(f"hosts: {hosts}; epoch {epoch + 1} of {EPOCHS}, after {steps} steps", flush=True)
            for batch in pipeline:
                train_step(model, optimizer, batch)
                steps += 1
                if epoch == 0:
                    read += [metadata.index for metadata in batch.metadata if metadata.index is not None]
                if hosts > 1 and steps == FIRST_STEPS:
                    break
        (folder / f"read-{hosts}-{jax.process_index()}.json").write_text(json.dumps(read))
        position = pipeline.get_state()
    if hosts > 1:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(saved, nnx.state((model, optimizer)))
        if jax.process_index() == 0:
            (folder / "data.json").write_text(json.dumps(position))
    else:
        check = Pipeline(source=held_out, batch_size=150)
        right = sum(int(count_correct(model, batch)) for batch in check)
        print(pipeline.report(), flush=True)
        (folder / "accuracy").write_text(str(right / len(held_out["label"])))


def free_port() -> int:
    """One that the system gives to nobody by itself, neither now nor until the first process takes it."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)  # below those that connections get
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("", port))
            return port


def run(folder: Path, hosts: int, num_workers: int) -> None:
    """Start so many processes that train together, and wait for them."""
    port = free_port()
    command = [sys.executable, __file__, "--folder", str(folder), "--num-workers", str(num_workers)]
    place = ["--hosts", str(hosts), "--port", str(port)]
    started = [subprocess.Popen([*command, *place, "--host", str(host)]) for host in range(hosts)]
    codes = [process.wait() for process in started]
    if any(codes):
        raise RuntimeError("a training process has failed")


def main() -> int:
    """Train with two processes, then with one; or be one of them."""
    parser = argparse.ArgumentParser(description="Train on two hosts, then on one of them.")
    parser.add_argument("--num-workers", type=int, default=1, help="of each host")
    for name, kind in (("folder", Path), ("host", int), ("hosts", int), ("port", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.host is not None:
        if arguments.hosts > 1:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
            jax.distributed.initialize(f"localhost:{arguments.port}", arguments.hosts, arguments.host)
        train(arguments.folder, arguments.num_workers)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, HOSTS, arguments.num_workers)
        run(folder, 1, arguments.num_workers)
        parts = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("read-*.json"))}
        accuracy = float((folder / "accuracy").read_text())
    records = len(read_digits()[0]["label"])
    for who, numbers in parts.items():
        print(f"{who}: {len(numbers)} records of the first epoch")
    exact = sorted(itertools.chain.from_iterable(parts.values())) == list(range(records))
    print(f"together each of the {records} once: {exact}; held-out accuracy {accuracy:.1%}")
    return int(not exact or accuracy < LEAST_ACCURACY)


if __name__ == "__main__":
    sys.exit(main())
