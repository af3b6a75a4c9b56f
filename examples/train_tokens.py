"""Train a small language model on a file of tokens, of which worker processes read windows.

    python examples/train_tokens.py
    python examples/train_tokens.py --tokens my.bin --num-workers 8 --steps 1000

A file of tokens is uint16 numbers one behind the other, as language models' corpora are kept. Without one, the bytes of
Python's language reference (``pydoc_data.topics``) are written to a temporary file and held out from at its end. Nobody
loads the file: ``np.memmap`` looks at it, and ``WindowSource`` cuts windows that begin elsewhere in every epoch. The
next token of each is what the model predicts.

One sees a progress bar and the loss on held-out windows before and after, in bits per token. The exit code is 1 if it
has not fallen by a third.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp import Batch, Pipeline, WindowSource

try:
    import optax
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]"', name=error.name
    ) from error

LENGTH = 64  # tokens that are predicted in a window
WIDTH, REACH = 128, 5


class Model(nnx.Module):
    """Two gated layers, each of which sees a token and the four before it.

    Args:
        tokens: how many there are.
        rngs: where the initial weights come from.
    """

    def __init__(self, tokens: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(tokens, WIDTH, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(REACH * WIDTH, 2 * WIDTH, rngs=rngs) for _ in range(2)])

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Tokens ``(rows, length)`` to logits ``(rows, length, tokens)`` of the next one."""
        x = self.embed(tokens)
        for layer in self.layers:
            behind = [jnp.pad(x, ((0, 0), (back, 0), (0, 0)))[:, : x.shape[1]] for back in range(REACH)]
            value, gate = jnp.split(layer(jnp.concatenate(behind, axis=-1)), 2, axis=-1)
            x = x + value * nnx.sigmoid(gate)
        return self.embed.attend(x)


def bits(model: Model, batch: Batch) -> jax.Array:
    """The mean loss of a batch, in bits per token."""
    tokens = batch["tokens"].astype("int32")
    losses = optax.softmax_cross_entropy_with_integer_labels(model(tokens[:, :-1]), tokens[:, 1:])
    return losses.mean() / np.log(2)


@nnx.jit
def train_step(model: Model, optimizer: nnx.Optimizer, batch: Batch) -> jax.Array:
    """Update the model in place; returns the loss."""
    loss, gradients = nnx.value_and_grad(bits)(model, batch)
    optimizer.update(model, gradients)
    return loss


evaluate = nnx.jit(bits)


def write_tokens(path: Path) -> None:
    """The language reference, a byte a token."""
    np.frombuffer("\n\n".join(topics.values()).encode(), np.uint8).astype(np.uint16).tofile(path)


def main() -> int:
    """Read windows, train."""
    parser = argparse.ArgumentParser(description="Train a small language model on a file of tokens.")
    parser.add_argument("--tokens", type=Path, help="a file of uint16 tokens (Python's language reference, in bytes)")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = arguments.tokens
        if path is None:
            write_tokens(path := Path(folder) / "tokens.bin")
        tokens = np.memmap(path, np.uint16, "r")
        border = len(tokens) * 9 // 10
        options = {"batch_size": arguments.batch_size, "num_workers": arguments.num_workers, "drop_last": True}
        windows = WindowSource(tokens[:border], LENGTH + 1, LENGTH, random_offset=True)
        train = Pipeline(source=windows, shuffle=True, seed=0, num_epochs=None, **options)
        check = Pipeline(source=WindowSource(tokens[border:], LENGTH + 1, LENGTH), **options)
        print(f"{len(tokens)} tokens")

        model = Model(int(tokens.max()) + 1, nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
        with train, check:
            before = float(np.mean([evaluate(model, batch) for batch in check]))
            for batch in tqdm(itertools.islice(train, arguments.steps), total=arguments.steps, disable=None):
                train_step(model, optimizer, batch)
            after = float(np.mean([evaluate(model, batch) for batch in check]))
    print(train.report())
    print(f"held-out windows: {before:.2f} bits per token before, {after:.2f} after {arguments.steps} steps")
    return int(after > before * 2 / 3)


if __name__ == "__main__":
    sys.exit(main())
