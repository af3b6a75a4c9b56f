"""Train a text model from Parquet shards, kill it in the middle of a window of blocks, go on, get the same to the bit.

    python examples/train_shards.py
    python examples/train_shards.py --num-workers 0 --epochs 3
    python examples/train_shards.py --bucket

The text is Python's own language reference as the standard library ships it for ``help()`` (``pydoc_data.topics``), one
row a paragraph, in eight Parquet files of some row groups. ``ShuffleWindow(blocks=6)`` shuffles row groups, and
paragraphs among those of six; each row group is read once an epoch, by one worker. A small network predicts each byte
from the eight before it. Every 16 steps its parameters and the pipeline's state are saved, in one file. This is done
three times: from beginning to end; in another process, which is killed (SIGKILL); and in a third one, with another
number of workers, which goes on from what the second has saved.

With ``--bucket`` the files lie in a bucket of an object server (moto's, on this machine). The first run reads them
through an empty cache folder, the second and the third through another one, which the third finds half full.

One sees where the second was killed and the third went on, and the bits per byte at the begin and the end: 8 would be
no idea at all. The exit code is 1 unless the first and the third end with the same parameters, bit for bit, and it has
learnt something. (On the CPU backend, which adds up in the same order every time.)
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from resume import finish, kill_in_the_middle

from datarax_mp import Batch, Pad, ParquetSource, Pipeline, ShuffleWindow, Storage

try:
    import optax
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ImportError(
        f'this example needs {error.name}: pip install "datarax-mp[examples,parquet]"', name=error.name
    ) from error

CONTEXT, LENGTH, WIDTH = 8, 128, 24
SAVE_EVERY = 16  # steps
BITS_PER_BYTE = 4.5


def write_shards(folder: Path) -> None:
    """The paragraphs, in eight files."""
    texts = [part for text in topics.values() for part in text.split("\n\n") if part.strip()]
    for shard in range(8):
        pq.write_table(pa.table({"text": texts[shard::8]}), folder / f"shard-{shard}.parquet", row_group_size=100)


SERVER = """
import logging, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
"""


@contextmanager
def in_bucket(shards: Path) -> Iterator[str]:
    """Put files into a bucket of a server that runs meanwhile; yields the server's address."""
    import s3fs

    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        bucket = s3fs.S3FileSystem(**access(address))
        bucket.mkdir("shards")
        bucket.put(str(shards) + "/", "shards/", recursive=True)
        try:
            yield address
        finally:
            server.stdin.close()


def access(address: str) -> dict[str, Any]:
    """What fsspec has to know of that server."""
    return {"key": "anybody", "secret": "anything", "endpoint_url": address}


def open_shards(shards: str, cache: Path) -> ParquetSource:
    """The rows, of a folder or of the bucket of a server."""
    if not shards.startswith("http://"):
        return ParquetSource(shards)
    return ParquetSource("s3://shards", storage=Storage(options=access(shards), cache_folder=cache))


def as_bytes(record: dict[str, Any]) -> dict[str, np.ndarray]:
    """A paragraph's first bytes."""
    return {"bytes": np.frombuffer(record["text"].encode(), np.uint8)[:LENGTH]}


class Model(nnx.Module):
    """Predicts a byte from those before it."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(256, WIDTH, rngs=rngs)
        self.hidden = nnx.Linear(CONTEXT * WIDTH, 128, rngs=rngs)
        self.out = nnx.Linear(128, 256, rngs=rngs)

    def __call__(self, data: jax.Array) -> jax.Array:
        """Bytes ``(rows, length)`` to logits for each ``(rows, length, 256)``."""
        before = self.embed(jnp.pad(data.astype(jnp.int32), ((0, 0), (CONTEXT, 0)))[:, :-1])
        places = [before[:, first : first + data.shape[1]] for first in range(CONTEXT)]
        return self.out(nnx.gelu(self.hidden(jnp.concatenate(places, axis=-1))))


@nnx.jit
def train_step(model: Model, optimizer: nnx.Optimizer, batch: Batch) -> jax.Array:
    """Update the model in place; bits per byte."""

    def loss_of(model: Model) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(
            model(batch["bytes"]), batch["bytes"].astype(jnp.int32)
        )
        return jnp.sum(losses * batch["mask"]) / jnp.sum(batch["mask"])

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss / jnp.log(2)


def save(path: Path, modules: Any, state: dict[str, Any]) -> None:
    """Parameters and position in one file, which is there as a whole or not at all."""
    arrays = {str(number): np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(nnx.state(modules)))}
    half = path.with_suffix(".half")
    with half.open("wb") as file:
        np.savez(file, state=np.array(json.dumps(state)), **arrays)
    os.replace(half, path)


def load(path: Path, modules: Any) -> dict[str, Any]:
    """Restore parameters; returns the position."""
    leaves, structure = jax.tree.flatten(nnx.state(modules))
    with np.load(path) as saved:
        arrays = [jnp.asarray(saved[str(number)], leaf.dtype) for number, leaf in enumerate(leaves)]
        nnx.update(modules, jax.tree.unflatten(structure, arrays))
        return json.loads(str(saved["state"]))  # type: ignore[no-any-return]


def train(shards: str, folder: Path, epochs: int, num_workers: int) -> list[np.ndarray]:
    """Train, or go on from the newest file in the folder; returns the parameters. Prints every step."""
    folder.mkdir(exist_ok=True)
    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    with Pipeline(
        source=open_shards(shards, folder / "cache"),
        batch_size=32,
        shuffle=ShuffleWindow(blocks=6),
        stages=[as_bytes, Pad("bytes", LENGTH, mask="mask")],
        drop_last=True,
        seed=0,
        num_workers=num_workers,
    ) as pipeline:
        step = max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)
        if step:
            pipeline.set_state(load(folder / str(step), (model, optimizer)))
            position = pipeline.get_state()
            print(f"goes on after step {step}: epoch {position['epoch']}, batch {position['step']}", flush=True)
        while pipeline.get_state()["epoch"] < epochs:
            for batch in pipeline:
                bits = train_step(model, optimizer, batch)
                step += 1
                if step % SAVE_EVERY == 0:
                    save(folder / str(step), (model, optimizer), pipeline.get_state())
                print(f"step {step}: {bits:.2f} bits per byte", flush=True)
    print(pipeline.report(), file=sys.stderr)  # on the other stream, for the lines here are counted
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


def run(shards: str, folder: Path, options: argparse.Namespace, num_workers: int) -> subprocess.Popen[str]:
    """Start a process that trains."""
    command = [sys.executable, __file__, "--train", str(folder), "--shards", shards]
    more = ["--epochs", str(options.epochs), "--num-workers", str(num_workers)]
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)


def demonstrate(options: argparse.Namespace) -> str | None:
    """Do the three runs and compare them; returns what went wrong, or None."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as undo:
        written, undisturbed, disturbed = (Path(name) / part for part in ("shards", "undisturbed", "disturbed"))
        written.mkdir()
        write_shards(written)
        shards = undo.enter_context(in_bucket(written)) if options.bucket else str(written)
        first = run(shards, undisturbed, options, options.num_workers)
        second = run(shards, disturbed, options, options.num_workers)
        last = kill_in_the_middle(second, disturbed, SAVE_EVERY)
        if second.returncode != -signal.SIGKILL:
            return f"the run to be killed ended by itself, after {last!r}, with exit code {second.returncode}"
        print(f"killed after {last}")
        lines, resumed = finish(run(shards, disturbed, options, options.num_workers + 1), disturbed)
        print(f"{lines[0]}; ended after {lines[-1]}")
        lines, whole = finish(first, undisturbed)
        print(f"never killed: {lines[0]}, ended after {lines[-1]}")
    differing = sum(not np.array_equal(ours, theirs) for ours, theirs in zip(whole, resumed, strict=True))
    print(f"{sum(array.size for array in whole)} parameters in {len(whole)} arrays, of which {differing} differ")
    if differing:
        return "the resumed run has other parameters than the one that was never killed"
    bits = float(lines[-1].split()[2])
    return None if bits < BITS_PER_BYTE else f"expected less than {BITS_PER_BYTE} bits per byte, found {bits}"


def main(arguments: Sequence[str] | None = None) -> str | None:
    """Demonstrate, or be one of the runs; returns what went wrong, or None."""
    parser = argparse.ArgumentParser(description="Train from Parquet shards, killed and resumed.")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--bucket", action="store_true", help="let the files lie in a bucket (needs moto and s3fs)")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shards", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.train is None:
        return demonstrate(options)
    jax.config.update("jax_platforms", "cpu")
    parameters = train(options.shards, options.train, options.epochs, options.num_workers)
    np.savez(options.train / "parameters.npz", *parameters)
    return None


if __name__ == "__main__":
    sys.exit(main())
