"""Drawing a seed from what the user gave as a source of randomness."""

from __future__ import annotations

import operator
import sys
from typing import Any

import numpy as np

_BITS = 64


def draw_seed(rngs: Any) -> int:
    """Draw 64 bits: every call moves a stream on, so the next pipeline over it gets another seed.

    Args:
        rngs: an ``nnx.Rngs`` with a ``shuffle`` or a default stream, or an ``np.random.Generator`` (which keeps a
            script with NumPy output free of JAX). Or an int or a ``jax.random.key``, which have nothing to move on: the
            next pipeline gets the same seed.

    Raises:
        TypeError: it is none of these.
        ValueError: the ``nnx.Rngs`` has no stream to draw from, the int is no seed, or it is several keys.

    >>> generator = np.random.default_rng(0)
    >>> draw_seed(generator) != draw_seed(generator)
    True
    >>> draw_seed(5)
    5
    """
    if is_number(rngs):
        return check_seed(rngs, "rngs")
    if isinstance(rngs, np.random.Generator):
        return int(rngs.integers(1 << 63))
    # Whoever made a key or an nnx.Rngs has imported these; so there is no need to import them to ask.
    jax, nnx = sys.modules.get("jax"), sys.modules.get("flax.nnx")
    if jax is not None and isinstance(rngs, (jax.Array, np.ndarray)):
        return _seed_of_key(jax, rngs)
    if nnx is None or not isinstance(rngs, nnx.Rngs):
        raise TypeError(
            f"rngs must be an nnx.Rngs or an np.random.Generator, an int or a jax.random.key, not {type(rngs).__name__}"
        )
    try:
        key = rngs.shuffle()
    except AttributeError as error:
        raise ValueError(
            "rngs has neither a 'shuffle' nor a default stream; use nnx.Rngs(0) or nnx.Rngs(shuffle=0)"
        ) from error
    return _seed_of_key(jax, key)


def is_number(value: Any) -> bool:
    """Whether it is an int, or NumPy's."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_seed(value: Any, name: str = "seed") -> int:
    """A number that a user gave for a seed.

    Raises:
        TypeError: it is no int.
        ValueError: it is negative, or has more than 64 bits.
    """
    if not is_number(value):
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}")
    seed = operator.index(value)
    if not 0 <= seed < 1 << _BITS:
        raise ValueError(f"{name} must be at least 0 and below 2**{_BITS}, got {seed}")
    return seed


def _seed_of_key(jax: Any, key: Any) -> int:
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = np.asarray(jax.random.key_data(key) if typed else key)
    if data.ndim != 1 or data.dtype != np.uint32 or data.size < 2:
        raise ValueError(f"rngs must be one key, such as jax.random.key(0), found {key.dtype} of shape {key.shape}")
    return int.from_bytes(data.tobytes()[:8], "little")
