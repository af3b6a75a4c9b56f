"""Train a classifier on a Hugging Face data set, whose text is tokenised a batch at a time in worker processes.

    pip install "datarax-mp[examples]" datasets
    python examples/classify_text.py
    python examples/classify_text.py --num-workers 0 --epochs 5

The texts are pieces of what ships with Python: paragraphs of its language reference, and lines of its standard library;
the model tells which of both a piece is. ``dataset.with_transform`` is Hugging Face's way to tokenise late, and what it
gives is the source as it is: the pipeline asks for all records of a batch in one call.

One sees a progress bar and the accuracy on held-out pieces; the exit code is 1 if it is below 95 %.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp import Batch, Pipeline

try:
    import optax
    from datasets import Dataset
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]" datasets', name=error.name
    ) from error

LENGTH = 64
BUCKETS = 4096
LEAST_ACCURACY = 0.95


def pieces() -> Dataset:
    """Texts and labels: 0 for prose, 1 for Python."""
    prose = [part for text in topics.values() for part in text.split("\n\n") if len(part) > 40]
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    lines = [line for path in modules[:60] for line in path.read_text(errors="replace").split("\n")]
    code = ["\n".join(lines[at : at + 4]) for at in range(0, len(lines), 4)]
    code = [piece for piece in code if len(piece) > 40][: len(prose)]
    return Dataset.from_dict({"text": prose + code, "label": [0] * len(prose) + [1] * len(code)})


def tokenise(batch: dict[str, list[Any]]) -> dict[str, Any]:
    """Three letters are a token: its number is a checksum of them. ``(rows, LENGTH)`` int32, 0 is padding."""
    tokens = np.zeros((len(batch["text"]), LENGTH), np.int32)
    for row, text in enumerate(batch["text"]):
        letters = np.frombuffer(text.encode()[: LENGTH + 2], np.uint8).astype(np.int32)
        triples = letters[:-2] + 31 * letters[1:-1] + 961 * letters[2:]
        tokens[row, : len(triples)] = 1 + triples % (BUCKETS - 1)
    return {"tokens": list(tokens), "label": batch["label"]}


class Classifier(nnx.Module):
    """The mean of embeddings, and a dense layer.

    Args:
        rngs: where the initial weights come from.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(BUCKETS, 32, rngs=rngs)
        self.head = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Tokens ``(rows, LENGTH)`` to logits ``(rows, 2)``."""
        real = (tokens > 0)[..., None]
        return self.head((self.embed(tokens) * real).sum(1) / jnp.maximum(real.sum(1), 1))


@nnx.jit
def train_step(model: Classifier, optimizer: nnx.Optimizer, batch: Batch) -> jax.Array:
    """Update the model in place; returns the loss."""

    def loss_of(model: Classifier) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(batch["tokens"]), batch["label"]).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def count_right(model: Classifier, batch: Batch) -> jax.Array:
    """How many pieces of a batch are recognised; padding does not count."""
    return jnp.sum((model(batch["tokens"]).argmax(-1) == batch["label"]) & batch.valid_mask)


def main() -> int:
    """Tokenise, train."""
    parser = argparse.ArgumentParser(description="Train a classifier on a Hugging Face data set.")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()

    parts = pieces().train_test_split(test_size=0.1, seed=0)
    options = {"batch_size": arguments.batch_size, "num_workers": arguments.num_workers, "seed": 0}
    train = Pipeline(source=parts["train"].with_transform(tokenise), shuffle=True, drop_last=True, **options)
    check = Pipeline(source=parts["test"].with_transform(tokenise), pad_last=True, **options)
    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    with train, check:
        for epoch in range(arguments.epochs):
            for batch in tqdm(train, desc=f"epoch {epoch}", unit="step", disable=None):
                train_step(model, optimizer, batch)
        right = sum(int(count_right(model, batch)) for batch in check)
    print(train.report())
    accuracy = right / len(parts["test"])
    print(f"{len(parts['train'])} pieces of text; held-out accuracy {accuracy:.1%}")
    return int(accuracy < LEAST_ACCURACY)


if __name__ == "__main__":
    sys.exit(main())
