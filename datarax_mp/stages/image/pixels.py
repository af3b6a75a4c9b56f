"""What all image stages share: OpenCV, the check of a record's image, sizes, and the changes of pixels themselves."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import RecordError

Image: TypeAlias = NDArray[
    Any
]  # uint8 or uint16 (height, width, channels); a mask may be of any kind and lack channels
Size: TypeAlias = int | tuple[int, int]

# How far apart, in source pixels, a linear interpolation may sample: beyond it, pixels are skipped and edges alias. At
# 1.25 the result is as close to Pillow's antialiased one as INTER_AREA's is, at half its cost.
_LARGEST_STEP = 1.25

_BY_OPENCV = frozenset({np.dtype(np.uint8), np.dtype(np.uint16)})  # mirrored; big-endian ones are others


def opencv() -> Any:
    """The module ``cv2``.

    Raises:
        ImportError: it is not installed.
    """
    # Delayed import, so that whoever uses no image stage needs no OpenCV, and a worker saves its 18 MB.
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            'the image stages need OpenCV, which cannot be imported: python -m pip install "datarax-mp[images]"'
        ) from error
    return cv2


@cache
def _loaded() -> Any:
    try:
        return opencv()
    except ImportError:
        return None


def opencv_if_there() -> Any:
    """The module ``cv2``, or None where it cannot be imported."""
    return sys.modules["cv2"] if "cv2" in sys.modules else _loaded()


def read_image(record: Any, field: str, stage: object, *, is_deep: bool = False) -> Image:
    """The image of a record.

    Args:
        record: what the stage was given.
        field: where the image is.
        stage: for messages.
        is_deep: take uint16 and 4 channels, too.

    Raises:
        RecordError: there is no such field, or it is not uint8 (height, width, 1 or 3).
    """
    image = read_field(record, field, stage)
    if (
        isinstance(image, np.ndarray)
        and image.ndim == 3
        and (image.dtype == np.uint8 or (is_deep and image.dtype == np.uint16))
        and (image.shape[2] in (1, 3) or (is_deep and image.shape[2] == 4))
        and image.size
    ):
        return image
    expected = ", or uint16, with 1, 3 or 4 channels" if is_deep else " with 1 or 3 channels"
    alpha = "" if is_deep else "image[..., :3] to drop alpha, "
    raise RecordError(
        f"{type(stage).__name__}, field '{field}': expected a NumPy array, uint8 (height, width, channels){expected}, "
        f"found {_described(image)}. Convert it in a stage before: image[..., None] when greyscale lacks its channel "
        f"axis, {alpha}np.moveaxis(image, 0, -1) when channels come first, np.asarray(image) for a Pillow image"
    )


def read_mask(record: Any, field: str, stage: object) -> Image:
    """The mask of a record: a value for each pixel, of any kind.

    Raises:
        RecordError: there is no such field, or it is no array (height, width) or (height, width, channels).
    """
    mask = read_field(record, field, stage)
    if isinstance(mask, np.ndarray) and mask.ndim in (2, 3) and mask.size and not mask.dtype.hasobject:
        return mask
    raise RecordError(
        f"{type(stage).__name__}, field '{field}': expected a mask, a NumPy array (height, width) or (height, width, "
        f"channels), found {_described(mask)}. Convert it in a stage before, or say by masks= which fields are masks"
    )


def read_field(record: Any, field: str, stage: object) -> Any:
    """A field of a record.

    Raises:
        RecordError: there is none of this name.
    """
    if not isinstance(record, Mapping) or field not in record:
        found = f"the fields {sorted(map(str, record))}" if isinstance(record, Mapping) else type(record).__name__
        raise RecordError(
            f"{type(stage).__name__}, field '{field}': expected a record with this field, found {found}. Name another "
            "by field=..., or several by fields=(...)"
        )
    return record[field]


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def check_size(size: Any, stage: object) -> None:
    """Make sure that a size is a positive integer or a pair of them.

    Raises:
        ValueError: it is not.
    """
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(_is_count(side, 1) for side in pair):
        raise ValueError(
            f"{type(stage).__name__}: size must be a positive integer or a pair (height, width) of them, got {size!r}"
        )


def check_padding(padding: Any, stage: object) -> None:
    """Make sure that a padding is an integer of at least 0.

    Raises:
        ValueError: it is not.
    """
    if not _is_count(padding, 0):
        raise ValueError(f"{type(stage).__name__}: padding must be an integer of at least 0, got {padding!r}")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def as_pair(size: Size) -> tuple[int, int]:
    """Height and width of a size, a single number being both.

    >>> as_pair(224), as_pair((3, 4))
    ((224, 224), (3, 4))
    """
    return (size, size) if isinstance(size, (int, np.integer)) else (size[0], size[1])


def resize(image: Image, height: int, width: int) -> Image:
    """Scale an image, antialiased: each result is a mean over the source's pixels, when there are more of those.

    A linear interpolation looks at four pixels however many there are. So an image is interpolated to the wanted size
    times a power of two, at least 0.8 of the source's own, and then halved; a halving averages two neighbours.
    Pixels are squares, their centres at half integers (as in Pillow, ``torchvision`` and scikit-image).

    Args:
        image: uint8 or uint16 (H, W, C).
        height: rows of the result.
        width: columns of the result.

    Returns:
        the same kind, (height, width, C); the image itself when that is its size already.

    >>> stripes = np.tile(np.array([[[0], [200]]], np.uint8), (4, 4, 1))
    >>> resize(stripes, 2, 4)[:, :, 0].tolist()
    [[100, 100, 100, 100], [100, 100, 100, 100]]
    """
    rows, columns, channels = image.shape
    if (rows, columns) == (height, width):
        return image
    cv2 = opencv()
    down, across = _halvings(rows / height), _halvings(columns / width)
    image = cv2.resize(image, (width << across, height << down), interpolation=cv2.INTER_LINEAR)
    while down or across:
        down, across = max(down - 1, 0), max(across - 1, 0)
        # Midway between two pixels, a linear interpolation is their mean: the quickest of all ways to halve.
        image = cv2.resize(image, (width << across, height << down), interpolation=cv2.INTER_LINEAR)
    return image.reshape(height, width, channels)


def _halvings(scale: float) -> int:
    return max(0, math.ceil(math.log2(scale / _LARGEST_STEP)))


def resize_nearest(mask: Image, height: int, width: int) -> Image:
    """Scale a mask: each result is the value of the pixel at its centre, none is mixed of several.

    Pixels are squares, as in ``resize``, so that a mask stays in its place under an image. (OpenCV's INTER_NEAREST is
    off by up to half a pixel.) Calculated in integers, without rounding.

    Args:
        mask: any kind, (H, W) or (H, W, C).
        height: rows of the result.
        width: columns of the result.

    Returns:
        the same kind, (height, width) or (height, width, C); the mask itself when that is its size already.

    >>> resize_nearest(np.array([[1, 2, 3, 4]]), 1, 2).tolist()
    [[2, 4]]
    """
    if mask.shape[:2] == (height, width):
        return mask
    down, across = _centres(mask.shape[0], height), _centres(mask.shape[1], width)
    return mask.take(down, axis=0).take(across, axis=1)


def _centres(source: int, result: int) -> NDArray[np.int64]:
    return (2 * np.arange(result) + 1) * source // (2 * result)


def mirror(image: Image, axis: int) -> Image:
    """A mirrored copy of an image or a mask: 1 exchanges left and right, 0 top and bottom.

    A view would cost nothing here, but then be collated pixel by pixel: 360 µs at 224 by 224 and 3 channels, where this
    takes 20 with OpenCV and 80 without, a channel at a time.

    >>> mirror(np.arange(3, dtype=np.uint8).reshape(1, 3, 1), 1).ravel().tolist()
    [2, 1, 0]
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if axis == 1 and image.dtype in _BY_OPENCV and channels <= 4 and (cv2 := opencv_if_there()) is not None:
        return cv2.flip(image, axis).reshape(image.shape)
    flipped = np.flip(image, axis)
    if axis == 0 or channels == 1:
        return flipped.copy()  # row by row; or a byte at a time, in vector code
    out = np.empty(image.shape, image.dtype)
    for channel in range(channels):
        out[..., channel] = flipped[..., channel]
    return out
