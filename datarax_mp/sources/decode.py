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
lets damage pass that libjpeg-turbo only warns of (``jpeg.py`` tells which warnings are harmless). Of libjpeg-turbo's
scales M/8, those of 5/8 and more are not used: they take 1.2 to 2.2 times as long as the whole image, for lack of
vector code, and the quicker resize only just makes up for it.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Literal, TypeAlias

import numpy as np

from datarax_mp.sources.by_pillow import check_pixels, decode_by_pillow, readable_formats
from datarax_mp.sources.exif import jpeg_orientation, upright
from datarax_mp.sources.jpeg import decode_mended

Mode = Literal["RGB", "L", "RGBA", "I;16"]
Encoded: TypeAlias = bytes | bytearray | memoryview | np.ndarray

MAX_PIXELS = 178_956_970  # where Pillow refuses; 537 MB as RGB

_COLORSPACES = {"RGB": "RGB", "L": "GRAY", "RGBA": "RGBA", "I;16": "GRAY"}  # as simplejpeg calls them


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


def require_format(kind: str) -> None:
    """Make sure that Pillow reads a format that not every Pillow reads.

    Raises:
        ImportError: it does not; the message says what to do.
    """
    if kind not in readable_formats():
        raise ImportError(
            f"there are {kind} files, which this Pillow does not read: pip install --upgrade pillow (11.3 brought "
            "AVIF), or leave them out by files=[...]",
            name="PIL",
        )


def decode_image(
    data: Encoded,
    path: str = "<bytes>",
    *,
    mode: Mode = "RGB",
    min_size: int | None = None,
    pixel_limit: int | None = MAX_PIXELS,
) -> np.ndarray:
    """Decode the content of an image file, upright as its EXIF or XMP data says.

    For images that are no files: in a column of a table, a tar file, an answer from the network. In a stage this runs
    in the workers, as ``ImageFolderSource`` does, whose description tells what is decoded, and how.

    Args:
        data: the content: bytes, or what holds bytes (``bytearray``, ``memoryview``, an array of uint8).
        path: its name, for messages; one that ends in .tga says so of a TGA without the signature of version 2.
        mode: "RGB" for three channels, "RGBA" for four, "L" for one, grey; "I;16" for grey values as they are stored.
        min_size: a JPEG is decoded at 1/8, 2/8, 3/8 or 4/8 of its size if its shorter side stays at least this long;
            except for the few that simplejpeg does not take.
        pixel_limit: an image of more pixels is refused by its header; None for no limit.

    Returns:
        uint8 ``(height, width, channels)``, or uint16 ``(height, width, 1)`` under "I;16"; contiguous and writable.

    Raises:
        ImageError: the data is no image, is truncated or damaged, has more pixels than ``pixel_limit``, or, under
            "I;16", has colours or values that uint16 does not hold.
        TypeError: ``data`` is no bytes, but a path or a Pillow image.
        ValueError: an option is out of range.
        ImportError: the decoders are not installed: ``pip install "datarax-mp[images]"``.

    >>> import io
    >>> from PIL import Image
    >>> stream = io.BytesIO()
    >>> Image.new("RGB", (6, 4), "red").save(stream, "PNG")
    >>> pixels = decode_image(stream.getvalue())
    >>> pixels.shape, pixels.dtype.name, pixels[0, 0].tolist()
    ((4, 6, 3), 'uint8', [255, 0, 0])

    In a pipeline over records that hold encoded images:

    >>> def decode(record):
    ...     return {**record, "image": decode_image(record["image"])}
    """
    data = _as_bytes(data)
    check_options(mode, min_size, pixel_limit)
    try:
        if not data:
            raise ValueError("the file is empty")
        if not data.startswith(b"\xff\xd8"):
            return decode_by_pillow(data, mode, pixel_limit, is_tga=path.lower().endswith(".tga"))
        return _decode_jpeg(data, mode, min_size, pixel_limit)
    except MemoryError:
        raise
    except ImportError:
        require_decoders()
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to: KeyError, struct.error
        what = str(error) if isinstance(error, (ValueError, OSError, SyntaxError)) else repr(error)
        raise ImageError(path, f"expected an image, found {len(data)} bytes that do not decode: {what}") from error


def check_options(mode: str, min_size: int | None, pixel_limit: int | None) -> None:
    """Make sure that the options of decoding can be.

    Raises:
        ValueError: one cannot.
    """
    if mode not in _COLORSPACES:
        raise ValueError(f"mode must be one of {tuple(_COLORSPACES)}, got {mode!r}")
    if min_size is not None and min_size < 1:
        raise ValueError(f"min_size, the least length of the shorter side, must be at least 1, got {min_size}")
    if pixel_limit is not None and pixel_limit < 1:
        raise ValueError(
            f"pixel_limit, the most pixels of an image, must be at least 1, or None for no limit, got {pixel_limit}"
        )


def _as_bytes(data: Encoded) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, np.ndarray) and data.dtype == np.uint8:
        return data.tobytes()
    raise TypeError(
        f"decode_image takes the content of an image file as bytes, found {type(data).__name__}. Of a path, read it "
        "first: Path(path).read_bytes(); a Pillow image is decoded already: np.asarray(image)"
    )


def _decode_jpeg(data: bytes, mode: Mode, min_size: int | None, pixel_limit: int | None) -> np.ndarray:
    # Delayed, because sources are imported by every worker and by those who read no images.
    from simplejpeg import decode_jpeg, decode_jpeg_header

    try:
        height, width, colorspace, _ = decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # a damaged header, or a rare subsampling (3x1, 4x4) that only Pillow takes
        return decode_by_pillow(data, mode, pixel_limit)
    check_pixels(width, height, pixel_limit)
    if mode == "I;16" and colorspace != "Gray":
        raise ValueError(f"mode='I;16' is for grey values, found colours ({colorspace}). Ask for mode='L'")
    least = min_size or 0
    options = {"colorspace": _COLORSPACES[mode], "min_height": least, "min_width": least, "min_factor": 2}
    try:
        pixels = decode_jpeg(data, strict=True, **options)
    except ValueError as warning:
        mended = decode_mended(data, partial(decode_jpeg, **options), warning)
        if mended is None:
            return decode_by_pillow(data, mode, pixel_limit)
        pixels = mended
    pixels = upright(pixels, jpeg_orientation(data))
    return pixels.astype(np.uint16) if mode == "I;16" else pixels
