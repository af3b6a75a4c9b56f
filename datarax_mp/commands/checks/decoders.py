"""Whether images can be decoded, by trying it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module

from datarax_mp.commands.checks.finding import Finding

_MODULES = {"PIL": "Pillow", "simplejpeg": "simplejpeg", "cv2": "OpenCV"}
_SIDE = 16  # pixels
_INSTALL = 'pip install "datarax-mp[images]"'


def decoders() -> Iterator[Finding]:
    """The decoders, imported, and a JPEG and a PNG that are decoded with them."""
    told, lacking = [], []
    for module, name in _MODULES.items():
        try:
            told.append(f"{name} {getattr(import_module(module), '__version__', 'of an unknown version')}")
        except ImportError as error:
            why = "is missing" if error.name == module else f"cannot be imported: {error}"
            told.append(f"{name} {why}")
            lacking.append(module)
    remedy = f"if images are read or augmented: {_INSTALL}" if lacking else ""
    yield Finding("decoders", "; ".join(told), remedy)
    if lacking:
        return
    for kind in ("JPEG", "PNG"):
        if (trouble := _trouble(kind)) is not None:
            yield Finding(f"decoding {kind}", trouble, f"install the decoders anew: {_INSTALL}", works=False)


def _trouble(kind: str) -> str | None:
    """What is wrong with decoding a picture of one colour; None if nothing is."""
    import numpy as np
    from PIL import Image

    from datarax_mp.sources import decode_image

    file = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (200, 100, 50)).save(file, kind)
    pixels = decode_image(file.getvalue())
    if pixels.shape != (_SIDE, _SIDE, 3) or np.abs(pixels.astype(int) - (200, 100, 50)).max() > 4:
        return f"a picture of one colour comes out as {pixels.shape}, from {pixels.min()} to {pixels.max()}"
    return None
