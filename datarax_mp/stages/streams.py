"""The random streams of an ``nnx.Module`` among the device stages.

A stream moves on with every draw. Batches are made ahead of the user, how far ahead depends on how quick the workers
are, and after a resume a module would begin where it began: what a batch draws would depend on all that. Instead, each
stream gives one key when the pipeline is made, and for each batch it is set to one made of that key and the batch, and
put back. So a module's state does not change by its randomness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def streams_of(module: nnx.Module) -> list[Any]:
    """The ``nnx.RngStream`` objects of a module and what it holds, each once, in a fixed order."""
    return [node for _, node in nnx.iter_graph(module) if isinstance(node, nnx.RngStream)]


def draw_bases(module: nnx.Module) -> list[jax.Array]:
    """One key of each stream; the streams move on, so the next pipeline with this module gets others."""
    bases = []
    for stream in streams_of(module):
        bases.append(_each(jax.random.fold_in, stream.key[...], stream.count[...]))
        stream.count[...] += 1
    return bases


def fold_words(key: jax.Array, words: Any) -> jax.Array:
    """A key made of another one and of 64 bits, uint32 ``(2,)``."""
    return jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1])


def seeded(module: nnx.Module, bases: list[jax.Array], words: jax.Array, data: Any) -> Any:
    """What a module makes of a batch, with its streams set to keys of that batch, and put back."""
    streams = streams_of(module)
    kept = [(stream.key[...], stream.count[...]) for stream in streams]
    for stream, base in zip(streams, bases, strict=True):
        stream.key[...] = _each(lambda key: fold_words(key, words), base)
        stream.count[...] = jax.numpy.zeros_like(stream.count[...])
    data = module(data)
    for stream, (key, count) in zip(streams, kept, strict=True):
        stream.key[...], stream.count[...] = key, count
    return data


call_seeded: Callable[..., Any] = nnx.jit(seeded)


def _each(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """Apply a function of one key to as many as a stream holds: it may have been split."""
    for _ in range(arrays[0].ndim):
        function = jax.vmap(function)
    return function(*arrays)
