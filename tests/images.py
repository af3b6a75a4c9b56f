"""Images made by hand, for tests of what decodes them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def photo(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth colours, so that JPEG changes them little; no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * y // height, 255 * x // width, 255 * (x + y) // (height + width)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    """A file of Pillow's format ``kind``, out of an array or an image of Pillow's."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def jpeg(image: Any = None, **options: Any) -> bytes:
    """One that loses little."""
    return encoded(photo() if image is None else image, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def difference(one: np.ndarray, two: np.ndarray) -> int:
    """The largest of all values."""
    assert one.shape == two.shape
    return int(np.abs(one.astype(int) - two).max())
