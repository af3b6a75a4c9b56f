"""A record's key, which is text, as an array: so it goes through ``jit`` with the numbers beside it.

byte 0      how many bytes of text follow, plus one; 0 is no key at all
bytes 1..   the text in UTF-8, then zeros
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 128  # of text; what is longer is cut. Every key takes as many, or each length would be traced by itself.


def encode(key: str | None) -> NDArray[np.uint8]:
    """A key as uint8 ``(129,)``; one of more than 128 bytes is cut before the character that does not fit.

    >>> encode("ab")[:4].tolist(), encode(None)[:4].tolist()
    ([3, 97, 98, 0], [0, 0, 0, 0])
    """
    found = np.zeros(1 + KEY_BYTES, np.uint8)
    if key is not None:
        text = key.encode()[:KEY_BYTES].decode(errors="ignore").encode()
        found[0] = len(text) + 1
        found[1 : len(text) + 1] = np.frombuffer(text, np.uint8)
    return found


def decode(array: Any) -> str | None:
    """The key that an array holds; None where there is none, and where it cannot be read: in a trace, or of several.

    >>> decode(encode("photo-3")), decode(np.stack([encode("a"), encode("b")]))
    ('photo-3', None)
    """
    if isinstance(array, jax.core.Tracer) or not isinstance(array, (np.ndarray, jax.Array)):
        return None
    if array.shape != (1 + KEY_BYTES,) or array.dtype != np.uint8:
        return None
    found = np.asarray(array)
    return found[1 : found[0]].tobytes().decode(errors="replace") if found[0] else None
