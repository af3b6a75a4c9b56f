"""What Pillow decodes: all formats but JPEG, and the few JPEGs that simplejpeg does not take.

Also the PGM, whose grey values Pillow scales to 16 bits one by one, in Python.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from datarax_mp.sources.exif import info_orientation, upright, xmp_orientation
from datarax_mp.sources.quiet import quiet

# Only what Pillow decodes by itself: its EPS reader starts Ghostscript.
_PLUGINS = {
    "PNG": "Png",
    "JPEG": "Jpeg",
    "GIF": "Gif",
    "BMP": "Bmp",
    "PPM": "Ppm",
    "WEBP": "WebP",
    "TIFF": "Tiff",
    "JPEG2000": "Jpeg2K",
    "AVIF": "Avif",
    "TGA": "Tga",
}

_PGM = re.compile(rb"P([25])" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})" + rb"\s")
_TGA_END = b"TRUEVISION-XFILE.\0"
_LIMIT = threading.RLock()  # a signal handler may decode an image, too


@dataclass(frozen=True, slots=True, eq=False)
class _Grey:
    """Grey values of up to 16 bits, as they are stored.

    Attributes:
        values: integers ``(height, width)``.
        most: the value of white, or None where nobody knows it.
        clear: the value that is transparent, if one is.
        is_negative: whether 0 is white and ``most`` black.
    """

    values: np.ndarray
    most: int | None
    clear: int | None = None
    is_negative: bool = False

    def stored(self) -> np.ndarray:
        low, high = int(self.values.min()), int(self.values.max())
        if low < 0 or high > 65535:
            raise ValueError(f"the grey values lie between {low} and {high}, which uint16 does not hold")
        return self.values.astype(np.uint16)[:, :, None]

    def eight_bits(self) -> np.ndarray:
        if self.most is None:
            raise ValueError(
                "pixels of 32 bits or with a sign (Pillow's mode I) have no known range; mode='I;16' gives them as "
                "they are stored"
            )
        if self.most == 65535:
            pixels = (self.values >> 8).astype(np.uint8)
        else:
            share = np.minimum(self.values, self.most) / self.most
            # More than 8 bits as Pillow does it: first they become 16, of which the upper 8 stay.
            wide = np.rint(share * (65535 if self.most > 255 else 255)).astype(np.uint16)
            pixels = (wide >> 8 if self.most > 255 else wide).astype(np.uint8)
        return (~pixels if self.is_negative else pixels)[:, :, None]

    def as_mode(self, mode: str) -> np.ndarray:
        if mode == "I;16":
            return self.stored()
        pixels = self.eight_bits()
        if mode == "L":
            return pixels
        pixels = np.repeat(pixels, 3, axis=2)
        if mode == "RGB":
            return pixels
        return np.dstack([pixels, np.where(self.values == self.clear, 0, 255).astype(np.uint8)])


def decode_by_pillow(data: bytes, mode: str, pixel_limit: int | None, *, is_tga: bool = False) -> np.ndarray:
    """Decode an image file; arguments and result as in ``decode_image``.

    Args:
        data: the content of the file.
        mode: what the pixels shall be.
        pixel_limit: more pixels are refused, None for no limit.
        is_tga: the name says that it is a TGA, whose content need not say it.

    Raises:
        Exception: whatever a file that is no image or a damaged one leads Pillow to.
    """
    if (header := _PGM.match(data)) is not None:
        width, height, most = (int(number) for number in header.groups()[1:])
        check_pixels(width, height, pixel_limit)
        return _read_pgm(data, header, width, height, most).as_mode(mode)
    # Pillow warns about odd metadata and large images: nothing that whoever reads a worker's output could act on.
    with quiet(), _open(data, pixel_limit, is_tga or data.endswith(_TGA_END)) as image:
        check_pixels(image.width, image.height, pixel_limit)
        tags = dict(getattr(image, "tag_v2", {}))
        image.load()  # metadata may follow the pixels
        grey = _grey_of(image, tags)
        if grey is not None and (mode == "I;16" or image.mode[0] == "I"):
            pixels = grey.as_mode(mode)
        elif mode == "I;16":
            raise ValueError(
                f"mode='I;16' is for grey values, found colours or transparency (Pillow's mode {image.mode}). "
                "Convert the file, or ask for mode='L'"
            )
        elif image.mode == "F":
            raise ValueError("pixels of 32 bits (Pillow's mode F) have no known range")
        else:
            pixels = np.array(image.convert(mode))
        return upright(pixels if pixels.ndim == 3 else pixels[:, :, None], _orientation(image, tags))


def check_pixels(width: int, height: int, limit: int | None) -> None:
    """Refuse an image by its header, before anything of its size is allocated.

    Raises:
        ValueError: it has more pixels than allowed.
    """
    if limit is not None and width * height > limit:
        raise ValueError(
            f"{width} x {height} pixels are more than the {limit} that are decoded; pixel_limit=... allows more"
        )


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """The formats that this Pillow reads, TGA last, which has no signature; what is missing depends on its build."""
    from PIL import Image, features

    for name in _PLUGINS.values():
        try:
            import_module(f"PIL.{name}ImagePlugin")
        except ImportError:  # an older Pillow
            continue
    missing = {"JPEG2000": "jpg_2000", "AVIF": "avif", "WEBP": "webp"}
    with quiet():  # of a feature that an older Pillow has not heard of
        return tuple(kind for kind in _PLUGINS if kind in Image.OPEN and features.check(missing.get(kind, "pil")))


def _open(data: bytes, pixel_limit: int | None, may_be_tga: bool) -> Any:
    from PIL import Image, UnidentifiedImageError

    formats = [kind for kind in readable_formats() if kind != "TGA" or may_be_tga]
    try:
        with _without_pillows_limit(pixel_limit):
            return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        known = ", ".join(readable_formats())
        raise ValueError(f"they begin with {data[:8]!r}, which is no intact header of {known}") from error


@contextmanager
def _without_pillows_limit(pixel_limit: int | None) -> Iterator[None]:
    """Lift Pillow's own limit, which holds for the whole process, where a larger one was asked for."""
    from PIL import Image

    kept = Image.MAX_IMAGE_PIXELS
    if kept is None or (pixel_limit is not None and pixel_limit <= 2 * kept):
        yield
        return
    with _LIMIT:
        kept = Image.MAX_IMAGE_PIXELS
        try:
            Image.MAX_IMAGE_PIXELS = None
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = kept


def _read_pgm(data: bytes, header: re.Match[bytes], width: int, height: int, most: int) -> _Grey:
    if not 0 < most < 65536 or not width or not height:
        raise ValueError(f"a PGM of {width} x {height} pixels, white being {most}, cannot be")
    count = width * height
    if header[1] == b"5":
        values = np.frombuffer(data, "u1" if most < 256 else ">u2", offset=header.end(), count=count)
    else:
        words = re.sub(rb"#[^\r\n]*", b" ", data[header.end() :]).split(maxsplit=count)[:count]
        if len(words) < count:
            raise ValueError(f"the file is truncated: {len(words)} of {count} pixels")
        values = np.array([int(word) for word in words])
        if values.min() < 0 or values.max() > most:
            raise ValueError(f"the pixels lie between {values.min()} and {values.max()}, white being {most}")
    return _Grey(values.reshape(height, width), most)


def _grey_of(image: Any, tags: dict[int, Any]) -> _Grey | None:
    """The grey values of an image that has no colours and no transparency."""
    if image.mode in ("1", "L"):
        return _Grey(np.asarray(image.convert("L")), 255)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        bits = tags.get(258, 16)  # of a TIFF: 12 bits come as they are
        most = (1 << (bits[0] if isinstance(bits, tuple) else bits)) - 1
        return _Grey(values, most, image.info.get("transparency"), is_negative=tags.get(262) == 0)
    if image.mode == "I":
        return _Grey(np.asarray(image), 65535 if image.format == "PNG" else None)
    return None


def _orientation(image: Any, tags: dict[int, Any]) -> int:
    if image.format != "TIFF":
        return info_orientation(image.info)
    # Pillow turns a TIFF upright by itself, unless the tag is of one byte; by XMP only since 11.1, which then takes it
    # out of the XMP data.
    if (value := tags.get(0x0112)) is not None:
        return value[0] if isinstance(value, bytes) and len(value) == 1 and 1 <= value[0] <= 8 else 1
    xmp = image.info.get("xmp", tags.get(700))
    return (xmp_orientation(xmp) if isinstance(xmp, bytes) else None) or 1
