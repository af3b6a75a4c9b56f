"""Train a small transformer on real text, which worker processes tokenise and pack into rows.

    python examples/train_text.py
    python examples/train_text.py --num-workers 0 --epochs 4

The text is Python's own language reference as the standard library ships it for ``help()`` (``pydoc_data.topics``), one
document a paragraph: some of a few characters, some longer than a row. Workers find out how many tokens each has
(``scan``); ``PackedSource`` packs them into rows of 256 tokens that are 99 % full. A token is a byte, and bytes that
often follow each other are merged, which is what byte-pair encoding does, with fewer rules.

One sees how full the rows are, and the bits per byte on held-out rows before and after the training: 8 would be no idea
at all, English is below 3 for so small a model. The exit code is 1 if it has not come below 4.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from itertools import pairwise
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp import Batch, PackedSource, Pipeline, scan

try:
    import optax
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]"', name=error.name
    ) from error

SEQ_LEN = 256
MERGES = 128
WIDTH, HEADS, LAYERS = 96, 4, 2
BITS_PER_BYTE = 4.0


class Tokenizer:
    """Bytes, and the pairs of bytes that a text holds most often. Made once in main, it travels to every worker."""

    def __init__(self, text: str, merges: int) -> None:
        data = text.encode()
        pairs = Counter(pairwise(data)).most_common(merges)
        self.merged = {pair: 256 + rank for rank, (pair, _) in enumerate(pairs)}
        self.size = 256 + len(pairs)

    def __call__(self, text: str) -> np.ndarray:
        """The tokens of a text, int32."""
        tokens: list[int] = []
        data = text.encode()
        at = 0
        while at < len(data):
            merged = self.merged.get((data[at], data[at + 1])) if at + 1 < len(data) else None
            tokens.append(data[at] if merged is None else merged)
            at += 1 if merged is None else 2
        return np.array(tokens, np.int32)


class Block(nnx.Module):
    """Attention within a document, and a dense layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """``(rows, tokens, width)`` to the same."""
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Model(nnx.Module):
    """Predicts every token from those before it in its document."""

    def __init__(self, tokens: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(tokens, WIDTH, rngs=rngs)
        self.place = nnx.Embed(SEQ_LEN, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        """Logits ``(rows, tokens, vocabulary)``."""
        segments = batch["segment_ids"]
        mask = nnx.make_causal_mask(segments) * (segments[:, None, :, None] == segments[:, None, None, :])
        x = self.embed(batch["tokens"]) + self.place(batch["positions"] % SEQ_LEN)
        for block in self.blocks:
            x = block(x, mask)
        return self.embed.attend(self.norm(x))


def nats(model: Model, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The sum over all predictions of a batch, and how many they are."""
    segments = batch["segment_ids"]
    # The last token of a document predicts nothing, nor does padding.
    counts = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0) & batch.valid_mask[:, None]
    losses = optax.softmax_cross_entropy_with_integer_labels(model(batch)[:, :-1], batch["tokens"][:, 1:])
    return jnp.sum(losses * counts), jnp.sum(counts)


@nnx.jit
def train_step(model: Model, optimizer: nnx.Optimizer, batch: Batch) -> None:
    """Update the model in place."""

    def loss_of(model: Model) -> jax.Array:
        total, count = nats(model, batch)
        return total / count

    optimizer.update(model, nnx.grad(loss_of)(model))


evaluate = nnx.jit(nats)


def bits_per_byte(model: Model, pipeline: Pipeline, bytes_per_token: float) -> float:
    """How well the model predicts, in a unit that does not depend on the tokenizer."""
    sums = [evaluate(model, batch) for batch in pipeline]
    total, count = (float(sum(part)) for part in zip(*sums, strict=True))
    return total / count / np.log(2) / bytes_per_token


def main() -> int:
    """Tokenise, pack, train."""
    parser = argparse.ArgumentParser(description="Train a small transformer on packed text.")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    workers = arguments.num_workers

    documents = [part for text in topics.values() for part in text.split("\n\n") if part.strip()]
    documents = [documents[number] for number in np.random.default_rng(0).permutation(len(documents))]
    tokenize = Tokenizer("\n\n".join(documents), MERGES)
    held_out, training = documents[: len(documents) // 10], documents[len(documents) // 10 :]

    def pack(part: list[str]) -> PackedSource:
        lengths = scan(part, lambda text: len(tokenize(text)), num_workers=workers)
        return PackedSource(part, SEQ_LEN, lengths=lengths, tokenize=tokenize)

    source = pack(training)
    tokens = round(source.fill * len(source) * SEQ_LEN)
    bytes_per_token = sum(len(part.encode()) for part in training) / tokens
    print(f"{len(training)} documents, {tokens} tokens of {bytes_per_token:.2f} bytes, {100 * source.fill:.1f} % full")

    options = {"batch_size": arguments.batch_size, "num_workers": workers, "rngs": nnx.Rngs(0)}
    train = Pipeline(source=source, shuffle=True, drop_last=True, **options)
    check = Pipeline(source=pack(held_out), pad_last=True, **options)
    model = Model(tokenize.size, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(3e-3), wrt=nnx.Param)
    print(f"before: {bits_per_byte(model, check, bytes_per_token):.2f} bits per byte")
    began = time.perf_counter()
    for _ in range(arguments.epochs):
        for batch in tqdm(train, unit="step", disable=None):
            train_step(model, optimizer, batch)
    after = bits_per_byte(model, check, bytes_per_token)
    print(
        f"after {arguments.epochs * len(train)} steps: {after:.2f} bits per byte, {time.perf_counter() - began:.0f} s"
    )
    print(train.report())
    return int(after > BITS_PER_BYTE)


if __name__ == "__main__":
    sys.exit(main())
