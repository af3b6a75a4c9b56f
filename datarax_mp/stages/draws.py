"""What random device stages draw from."""

from __future__ import annotations

from typing import Any, NamedTuple


class Draws(NamedTuple):
    """The randomness of one batch, a pytree of JAX arrays.

    Attributes:
        words: uint32 ``(4,)``, two of this batch alone, and two of its epoch.
        records: uint32 ``(rows, 2)``, the number of each row's record, its low half first; None where nobody asks.
    """

    words: Any
    records: Any
