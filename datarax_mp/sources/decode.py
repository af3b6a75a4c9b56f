"""From the bytes of an image file to an array.

simplejpeg decodes JPEGs and Pillow everything else; what a file is, its content says. Both are required, so that a
stream never depends on what happens to be installed. Time per photograph on one core of two (200 JPEGs of 110 kB and
0.2 megapixels, Python 3.11.7, 2026-11-24; ``scripts/measure_decoders.py`` has the whole table):

    decoder             whole     whole, then resized    reduced, then resized
                                  to 256     to 128      to 256     to 128
    ------------------  -------   --------------------   ---------------------
    simplejpeg 1.9.0    1.42 ms   3.23 ms    2.66 ms     3.03 ms    1.64 ms
    PyTurboJPEG 1.8.3   1.41 ms   3.23 ms    2.66 ms     3.08 ms    1.68 ms
    OpenCV 5.0.0        1.43 ms   3.28 ms    2.71 ms     3.05 ms    1.71 ms
    Pillow 13.0.0       1.79 ms   3.60 ms    3.09 ms     3.26 ms    1.83 ms

All four decode to the same pixels. PyTurboJPEG needs a library of the system's; OpenCV weighs 150 MB against 1 MB and
lets damage pass that libjpeg-turbo only warns of. Of libjpeg-turbo's scales M/8, those of 5/8 and more are not used:
they take 1.2 to 2.2 times as long as the whole image, for lack of vector code, and the quicker resize only just makes
up for it.
"""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec
from typing import Literal

import numpy as np

from datarax_mp.sources.exif import exif_orientation, jpeg_orientation, upright

Mode = Literal["RGB", "L"]

MAX_PIXELS = 178_956_970  # where Pillow refuses (its own limit is for the other formats); 537 MB as RGB

# Only what Pillow decodes by itself: its EPS reader starts Ghostscript. JPEG is for what simplejpeg does not know.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF")

# Warnings of libjpeg-turbo that say nothing of the pixels. Stray bytes before the end-of-image marker, 0xd9, come after
# the last of them, and well-known data sets hold such photographs. All other warnings are errors here.
_HARMLESS = (
    "extraneous bytes before marker 0xd9",
    "Invalid SOS parameters for sequential JPEG",
    "Unknown Adobe color transform code",
    "unknown JFIF revision number",
)


class ImageError(ValueError):
    """A file that is no image or a damaged one.

    Its ``__cause__`` is what the decoder raised.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)  # both, so that it pickles
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}. Replace the file, or leave it out of the source"


def require_decoders() -> None:
    """Make sure that the decoders are installed, without importing them.

    Raises:
        ImportError: one is missing; the message names the extra that brings it.
    """
    for module, package in (("PIL", "Pillow"), ("simplejpeg", "simplejpeg")):
        if find_spec(module) is None:
            raise ImportError(f'reading images needs {package}: pip install "datarax-mp[images]"', name=module)


def decode_image(data: bytes, path: str, *, mode: Mode = "RGB", min_size: int | None = None) -> np.ndarray:
    """Decode an image, upright as its EXIF data says.

    Args:
        data: the content of the file.
        path: its name, for messages.
        mode: "RGB" for three channels, "L" for one, grey.
        min_size: a JPEG is decoded at 1/8, 2/8, 3/8 or 4/8 of its size if its shorter side stays at least this long;
            except for the few that simplejpeg does not take.

    Returns:
        uint8 ``(height, width, 3)``, or ``(height, width, 1)`` under "L"; contiguous and writable.

    Raises:
        ImageError: the data is no image, is truncated or damaged, or has more than ``MAX_PIXELS``.
    """
    try:
        if not data:
            raise ValueError("the file is empty")
        if not data.startswith(b"\xff\xd8"):
            return _decode_by_pillow(data, mode)
        return _decode_jpeg(data, mode, min_size)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to: KeyError, struct.error
        what = str(error) if isinstance(error, (ValueError, OSError, SyntaxError)) else repr(error)
        raise ImageError(path, f"expected an image, found {len(data)} bytes that do not decode: {what}") from error


def _decode_jpeg(data: bytes, mode: Mode, min_size: int | None) -> np.ndarray:
    # Delayed, here and below, because sources are imported by every worker and by those who read no images.
    from simplejpeg import decode_jpeg, decode_jpeg_header

    try:
        height, width, _, _ = decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # a damaged header, or a rare subsampling (3x1, 4x4) that only Pillow takes
        return _decode_by_pillow(data, mode)
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than the {MAX_PIXELS} that are decoded")
    try:
        pixels = decode_jpeg(
            data,
            colorspace="RGB" if mode == "RGB" else "GRAY",
            min_height=min_size or 0,
            min_width=min_size or 0,
            min_factor=2,
            strict=True,
        )
    except ValueError as error:
        if not any(text in str(error) for text in _HARMLESS):
            raise
        # Only the first warning is told. Pillow decodes to the same pixels, and stops at a file that ends too early.
        return _decode_by_pillow(data, mode)
    return upright(pixels, jpeg_orientation(data))


def _decode_by_pillow(data: bytes, mode: Mode) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    # Pillow warns about odd metadata and large images: nothing that whoever reads a worker's output could act on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except UnidentifiedImageError as error:
            known = ", ".join(_FORMATS)
            raise ValueError(f"they begin with {data[:8]!r}, which is no intact header of {known}") from error
        with image:
            image.load()  # metadata may follow the pixels
            orientation = exif_orientation(image.info.get("exif", b""))
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)[:, :, None]
                pixels = grey if mode == "L" else np.repeat(grey, 3, axis=2)
            elif image.mode in ("I", "F"):
                raise ValueError(f"pixels of 32 bits (Pillow's mode {image.mode}) have no known range")
            else:
                pixels = np.array(image.convert(mode))
    return upright(pixels if pixels.ndim == 3 else pixels[:, :, None], orientation)
