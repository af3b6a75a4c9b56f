"""Drawing a seed from what the user gave as a source of randomness."""

from __future__ import annotations

from typing import Any

import numpy as np


def draw_seed(rngs: Any) -> int:
    """Draw 64 bits: every call moves the stream on, so the next pipeline over it gets another seed.

    Args:
        rngs: an ``nnx.Rngs`` with a ``shuffle`` or a default stream, or an ``np.random.Generator`` (which keeps a
            script with NumPy output free of JAX).

    Raises:
        TypeError: it is neither.
        ValueError: the ``nnx.Rngs`` has no stream to draw from.

    >>> generator = np.random.default_rng(0)
    >>> draw_seed(generator) != draw_seed(generator)
    True
    """
    if isinstance(rngs, np.random.Generator):
        return int(rngs.integers(1 << 63))
    from flax import nnx  # delayed: a script without JAX output never needs it
    from jax import random

    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(f"rngs must be an nnx.Rngs or an np.random.Generator, not {type(rngs).__name__}")
    try:
        key = rngs.shuffle()
    except AttributeError as error:
        raise ValueError(
            "rngs has neither a 'shuffle' nor a default stream; use nnx.Rngs(0) or nnx.Rngs(shuffle=0)"
        ) from error
    return int.from_bytes(np.asarray(random.key_data(key)).tobytes()[:8], "little")
