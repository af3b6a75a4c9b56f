"""Cropping, resizing and flipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from datarax_mp.core.record import RecordError
from datarax_mp.stages.image.pixels import Image, Size, as_pair, check_padding, check_size, opencv, read_image, resize

Record = dict[str, Any]

_TRIES = 10  # as in the reference implementations; with the usual settings a try fails one time in twenty or so


@dataclass(frozen=True, slots=True)
class Resize:
    """Scale the image, antialiased.

    Attributes:
        size: the shorter side's length, the other follows (rounded down); or exactly (height, width).
        field: the field that holds the image, uint8 (H, W, 1 or 3); the result is uint8 (height, width, same).

    Raises:
        ValueError: the size is no positive integer and no pair of them.
        RecordError: (in the worker) the field is missing or holds something else.
        ImportError: (in the worker) OpenCV is not installed.

    >>> Resize(2).map({"image": np.zeros((4, 7, 3), np.uint8)})["image"].shape
    (2, 3, 3)
    """

    size: Size
    field: str = "image"

    def __post_init__(self) -> None:
        check_size(self.size, self)

    def map(self, record: Record) -> Record:
        """Return the record with its image scaled."""
        image = read_image(record, self.field, self)
        rows, columns, _ = image.shape
        if not isinstance(self.size, (int, np.integer)):
            height, width = self.size
        elif rows <= columns:
            height, width = self.size, self.size * columns // rows
        else:
            height, width = self.size * rows // columns, self.size
        return {**record, self.field: resize(image, height, width)}


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """Cut out the middle of the image, without a copy; what cannot be centred exactly lies up and left by half a pixel.

    Attributes:
        size: (height, width), or one number for both.
        field: the field that holds the image, uint8 (H, W, 1 or 3); the result is uint8 (height, width, same).

    Raises:
        ValueError: the size is no positive integer and no pair of them.
        RecordError: (in the worker) the field is missing or holds something else, or the image is smaller.

    >>> CenterCrop(2).map({"image": np.arange(16, dtype=np.uint8).reshape(4, 4, 1)})["image"][..., 0].tolist()
    [[5, 6], [9, 10]]
    """

    size: Size
    field: str = "image"

    def __post_init__(self) -> None:
        check_size(self.size, self)

    def map(self, record: Record) -> Record:
        """Return the record with the middle of its image."""
        image = read_image(record, self.field, self)
        height, width = as_pair(self.size)
        _check_room(image, height, width, 0, self)
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return {**record, self.field: image[top : top + height, left : left + width]}


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Cut out a part of the image, every place equally likely.

    With a padding of 4 this is the usual augmentation of small images (Lee et al., "Deeply-Supervised Nets", AISTATS
    2015; He et al., "Deep Residual Learning for Image Recognition", CVPR 2016).

    Attributes:
        size: (height, width), or one number for both.
        padding: this many rows and columns of zeros are thought around the image first.
        field: the field that holds the image, uint8 (H, W, 1 or 3); the result is uint8 (height, width, same), a view
            of the image when nothing is padded.

    Raises:
        ValueError: the size is no positive integer and no pair of them, or the padding is no integer from 0 up.
        RecordError: (in the worker) the field is missing or holds something else, or the image is smaller.

    >>> crop = RandomCrop(32, padding=4)
    >>> crop.random_map({"image": np.zeros((32, 32, 3), np.uint8)}, np.random.default_rng(0))["image"].shape
    (32, 32, 3)
    """

    size: Size
    padding: int = 0
    field: str = "image"

    def __post_init__(self) -> None:
        check_size(self.size, self)
        check_padding(self.padding, self)

    def random_map(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with a part of its image."""
        image = read_image(record, self.field, self)
        height, width = as_pair(self.size)
        _check_room(image, height, width, self.padding, self)
        rows, columns, _ = image.shape
        top = int(rng.integers(rows + 2 * self.padding - height + 1)) - self.padding
        left = int(rng.integers(columns + 2 * self.padding - width + 1)) - self.padding
        return {**record, self.field: _window(image, top, left, height, width)}


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Cut out a part of random area and shape and scale it to one size: the "Inception crop".

    Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6. The area is drawn uniformly, the ratio
    of width to height log-uniformly; a part that does not fit into the image is drawn again, and after ten
    tries it is the largest one in the middle whose ratio is within the bounds (all as in torchvision).

    Attributes:
        size: (height, width) of the result, or one number for both.
        scale: bounds of the part's area, as a share of the image's.
        ratio: bounds of the part's width divided by its height.
        field: the field that holds the image, uint8 (H, W, 1 or 3); the result is uint8 (height, width, same).

    Raises:
        ValueError: a size, scale or ratio that cannot be.
        RecordError: (in the worker) the field is missing or holds something else.
        ImportError: (in the worker) OpenCV is not installed.

    >>> crop = RandomResizedCrop(224)
    >>> crop.random_map({"image": np.zeros((375, 500, 3), np.uint8)}, np.random.default_rng(0))["image"].shape
    (224, 224, 3)
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    field: str = "image"

    def __post_init__(self) -> None:
        check_size(self.size, self)
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"RandomResizedCrop: scale must be (low, high), 0 < low <= high <= 1, got {self.scale!r}")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"RandomResizedCrop: ratio must be (low, high), 0 < low <= high, got {self.ratio!r}")

    def random_map(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with a part of its image, scaled."""
        image = read_image(record, self.field, self)
        top, left, rows, columns = self.draw_box(image.shape[0], image.shape[1], rng)
        part = image[top : top + rows, left : left + columns]
        return {**record, self.field: resize(part, *as_pair(self.size))}

    def draw_box(self, rows: int, columns: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw the part of an image of ``rows`` times ``columns``: its top, left, height and width in pixels."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_TRIES):
            size, shape, down, across = rng.random(4).tolist()  # one call: four would cost more than the arithmetic
            area = rows * columns * (self.scale[0] + size * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + shape * (high - low))
            height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < height <= rows and 0 < width <= columns:
                return int(down * (rows - height + 1)), int(across * (columns - width + 1)), height, width
        ratio = min(max(columns / rows, self.ratio[0]), self.ratio[1])
        height = min(rows, max(1, round(columns / ratio)))
        width = min(columns, max(1, round(rows * ratio)))
        return (rows - height) // 2, (columns - width) // 2, height, width


@dataclass(frozen=True, slots=True)
class RandomFlip:
    """Mirror the image, or not.

    Attributes:
        probability: of a flip, 0 to 1.
        axis: 1 exchanges left and right, 0 top and bottom.
        field: the field that holds the image, uint8 (H, W, 1 or 3); the result is the same or a new array.

    Raises:
        ValueError: the probability lies outside of 0 to 1, or the axis is another.
        RecordError: (in the worker) the field is missing or holds something else.
        ImportError: (in the worker) OpenCV is not installed.

    >>> image = np.arange(3, dtype=np.uint8).reshape(1, 3, 1)
    >>> RandomFlip(1.0).random_map({"image": image}, np.random.default_rng(0))["image"].ravel().tolist()
    [2, 1, 0]
    """

    probability: float = 0.5
    axis: int = 1
    field: str = "image"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"RandomFlip: probability must lie in 0 to 1, got {self.probability!r}")
        if self.axis not in (0, 1):
            raise ValueError(f"RandomFlip: axis must be 1 (left and right) or 0 (top and bottom), got {self.axis!r}")

    def random_map(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with its image mirrored, or as it is."""
        image = read_image(record, self.field, self)
        if rng.random() >= self.probability:
            return record
        # A NumPy view is free here, but is then collated pixel by pixel: 360 µs at 224 by 224, where this takes 20.
        return {**record, self.field: opencv().flip(image, self.axis).reshape(image.shape)}


def _check_room(image: Image, height: int, width: int, padding: int, stage: CenterCrop | RandomCrop) -> None:
    rows, columns = image.shape[0] + 2 * padding, image.shape[1] + 2 * padding
    if rows < height or columns < width:
        padded = f" with its padding of {padding}" if padding else ""
        raise RecordError(
            f"{type(stage).__name__}, field '{stage.field}': expected an image of at least {(height, width)}, found "
            f"{(rows, columns)}{padded}. Put a Resize before it, or ask for less"
        )


def _window(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """Part of an image that goes on as zeros beyond its edges; a view when it lies inside."""
    first_row, first_column = max(top, 0), max(left, 0)
    inside = image[first_row : max(top + height, 0), first_column : max(left + width, 0)]
    if inside.shape[:2] == (height, width):
        return inside
    out = np.zeros((height, width, image.shape[2]), np.uint8)
    out[first_row - top :, first_column - left :][: inside.shape[0], : inside.shape[1]] = inside
    return out
