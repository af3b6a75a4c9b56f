"""Train a small convolutional network on real handwritten digits, with eight loader processes.

    python examples/train_digits.py
    python examples/train_digits.py --num-workers 0 --epochs 5

The 1797 images of scikit-learn's handwritten digits (``load_digits``, 8x8 pixels) are divided into a training set and
450 held-out images. The training pipeline shuffles anew in every epoch and drops the short last batch, and the
evaluation pipeline pads it, so that each of the two jitted steps is compiled once.

One sees a progress bar over all steps and then two lines: the accuracy on the held-out images, between 98 and 99 %, and
how long the training loop waited for data. The exit code is 1 if the accuracy is below 97 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp import Batch, MemorySource, MemorySourceConfig, Pipeline

try:
    import optax
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]"', name=error.name
    ) from error

Columns: TypeAlias = dict[str, np.ndarray]

HELD_OUT_EVERY = 4
LEAST_ACCURACY = 0.97


class DigitNet(nnx.Module):
    """Two convolutions and a dense layer.

    Args:
        rngs: where the initial weights come from.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 24, kernel_size=(3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(24, 48, kernel_size=(3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(4 * 4 * 48, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Images ``(batch, 8, 8, 1)`` to logits ``(batch, 10)``."""
        hidden = nnx.relu(self.conv1(images))
        hidden = nnx.relu(self.conv2(hidden))
        return self.head(hidden.reshape(hidden.shape[0], -1))


@nnx.jit(static_argnames="steps")
def start(steps: int) -> tuple[DigitNet, nnx.Optimizer]:
    """A new model and its optimizer; jitted, so that one compilation makes all the weights."""
    model = DigitNet(nnx.Rngs(jax.random.key(1, impl="unsafe_rbg")))  # compiles in a third of the default's time
    schedule = optax.cosine_decay_schedule(3e-3, decay_steps=steps)
    return model, nnx.Optimizer(model, optax.adamw(schedule, weight_decay=1e-2), wrt=nnx.Param)


@nnx.jit
def train_step(model: DigitNet, optimizer: nnx.Optimizer, batch: Batch) -> jax.Array:
    """Update the model in place; returns the loss, a scalar."""

    def loss_of(model: DigitNet) -> jax.Array:
        logits = model(batch["image"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def count_correct(model: DigitNet, batch: Batch) -> jax.Array:
    """How many images of a batch are recognised; padding does not count."""
    right = jnp.argmax(model(batch["image"]), axis=-1) == batch["label"]
    return jnp.sum(right & batch.valid_mask)


@dataclass
class Wait:
    """Time that a loop spent waiting for its data.

    Attributes:
        seconds: inside ``iter`` and ``next`` of the pipeline, altogether.
        first: until the first batch of the first epoch was there; None before that.
    """

    seconds: float = 0.0
    first: float | None = None


def timed(pipeline: Pipeline, wait: Wait) -> Iterator[Batch]:
    """One epoch of a pipeline; adds to ``wait`` what the caller waits for it."""
    batches = None
    while True:
        asked = time.perf_counter()
        batches = iter(pipeline) if batches is None else batches
        batch = next(batches, None)
        waited = time.perf_counter() - asked
        wait.seconds += waited
        wait.first = waited if wait.first is None else wait.first
        if batch is None:
            return
        yield batch


def read_digits() -> tuple[Columns, Columns]:
    """The training and the held-out digits: images float32 ``(n, 8, 8, 1)`` in [0, 1], labels int32 ``(n,)``."""
    # Read from the installed package without importing it: that takes longer than the whole training.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ImportError('this example needs scikit-learn: pip install "datarax-mp[examples]"', name="sklearn")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", np.float32, delimiter=",")
    images = table[:, :64].reshape(-1, 8, 8, 1) / 16
    labels = table[:, 64].astype(np.int32)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    held_out = np.zeros(len(labels), bool)
    held_out[by_label[::HELD_OUT_EVERY]] = True  # as many of every digit as its share of the whole
    training, held_out_digits = ({"image": images[part], "label": labels[part]} for part in (~held_out, held_out))
    return training, held_out_digits


def train(model: DigitNet, optimizer: nnx.Optimizer, pipeline: Pipeline, epochs: int, wait: Wait) -> None:
    """Train for some epochs, under a progress bar; adds to ``wait`` what the loop waits for data."""
    step = nnx.cached_partial(train_step, model, optimizer)  # NNX then looks through the model once, not in every step
    with tqdm(total=epochs * len(pipeline), unit="step") as bar:
        for epoch in range(epochs):
            for batch in timed(pipeline, wait):
                loss = step(batch)
                bar.update()
            # The loss is fetched once per epoch: fetching it in every step would make every step wait for the device.
            bar.set_postfix(epoch=epoch + 1, loss=f"{float(loss):.4f}")


def evaluate(model: DigitNet, pipeline: Pipeline) -> int:
    """How many of the pipeline's images the model recognises; fetched at the end, so that no batch waits."""
    counts = [count_correct(model, batch) for batch in pipeline]
    return sum(int(count) for count in counts)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small convolutional network on handwritten digits.")
    parser.add_argument("--num-workers", type=int, default=8, help="loader processes for training (default: 8)")
    parser.add_argument("--eval-workers", type=int, default=2, help="loader processes for evaluation (default: 2)")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training digits (default: 12)")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a batch (default: 64)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> str | None:
    """Train and evaluate.

    Args:
        arguments: the command line without the program's name; None takes the real one.

    Returns:
        what went wrong, or None.
    """
    options = parse(arguments)
    digits, held_out = read_digits()
    train_pipeline = Pipeline(
        source=MemorySource(MemorySourceConfig(shuffle=True), digits, rngs=nnx.Rngs(0)),
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        drop_last=True,
    )
    held_out_pipeline = Pipeline(
        source=MemorySource(MemorySourceConfig(), held_out),
        batch_size=options.batch_size,
        num_workers=options.eval_workers,
        pad_last=True,
    )
    wait = Wait()
    with train_pipeline, held_out_pipeline:
        steps = options.epochs * len(train_pipeline)
        if steps < 1:
            return f"nothing to train on: {options.epochs} epochs of {len(train_pipeline)} full batches"
        model, optimizer = start(steps)
        started = time.perf_counter()
        train(model, optimizer, train_pipeline, options.epochs, wait)
        took = time.perf_counter() - started
        correct, count = evaluate(model, held_out_pipeline), len(held_out["label"])

    accuracy = correct / count
    print(f"held-out accuracy {100 * accuracy:.1f} % ({correct} of {count})")
    print(
        f"training took {took:.1f} s, of which {wait.seconds:.2f} s ({100 * wait.seconds / took:.1f} %) were spent "
        f"waiting for data; first batch after {wait.first or 0.0:.1f} s"
    )
    print(train_pipeline.report())
    if accuracy < LEAST_ACCURACY:
        return f"the held-out accuracy is below {100 * LEAST_ACCURACY:.0f} %"
    return None


if __name__ == "__main__":
    sys.exit(main())
