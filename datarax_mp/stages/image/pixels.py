"""What all image stages share: OpenCV, the check of a record's image, sizes, and the resize itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import RecordError

Image: TypeAlias = NDArray[np.uint8]
Size: TypeAlias = int | tuple[int, int]

# How far apart, in source pixels, a linear interpolation may sample: beyond it, pixels are skipped and edges alias. At
# 1.25 the result is as close to Pillow's antialiased one as INTER_AREA's is, at half its cost.
_LARGEST_STEP = 1.25


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


def read_image(record: Any, field: str, stage: object) -> Image:
    """The image of a record.

    Raises:
        RecordError: there is no such field, or it is not uint8 (height, width, 1 or 3).
    """
    where = f"{type(stage).__name__}, field '{field}'"
    if not isinstance(record, Mapping) or field not in record:
        found = f"the fields {sorted(map(str, record))}" if isinstance(record, Mapping) else type(record).__name__
        raise RecordError(f"{where}: expected a record with this field, found {found}. Name another by field=...")
    image = record[field]
    if (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] in (1, 3)
        and image.size
    ):
        return image
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise RecordError(
        f"{where}: expected a NumPy array, uint8 (height, width, channels) with 1 or 3 channels, found {found}. "
        "Convert it in a stage before: image[..., None] when greyscale lacks its channel axis, image[..., :3] to drop "
        "alpha, np.moveaxis(image, 0, -1) when channels come first, np.asarray(image) for a Pillow image"
    )


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
        image: uint8 (H, W, C).
        height: rows of the result.
        width: columns of the result.

    Returns:
        uint8 (height, width, C); the image itself when that is its size already.

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
