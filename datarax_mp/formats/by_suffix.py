"""From the bytes of a file to a value, by what its name ends in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.sources.decode import decode_image

Decoder: TypeAlias = Callable[[bytes], Any]


def _integer(data: bytes) -> np.int64:
    return np.int64(int(data))


def _array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)  # type: ignore[no-any-return]


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return dict(file)


DECODERS: dict[str, Decoder] = {
    "cls": _integer,
    "jpeg": decode_image,
    "jpg": decode_image,
    "json": json.loads,
    "npy": _array,
    "npz": _arrays,
    "png": decode_image,
    "txt": bytes.decode,
    "webp": decode_image,
}
"""For fields that nobody has said anything of. Pickles are not among them: to read one is to run it."""
