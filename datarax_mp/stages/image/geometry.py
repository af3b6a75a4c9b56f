"""Cropping, resizing and flipping, of an image alone or of an image and its masks.

``fields=("image", "mask")`` makes one and the same change in several fields of a record. The first holds the image, the
others masks, whose values are names: segments, classes, instances, also depths. They keep their values: where an image
is interpolated, a mask takes the nearest pixel. ``masks=`` says so of others than all but the first:
``fields=("left", "right"), masks=()`` for two images, ``field="mask", masks=("mask",)`` for a mask alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datarax_mp.core.record import RecordError
from datarax_mp.stages.image.fields import check_fields, read_layers
from datarax_mp.stages.image.pixels import Image, Size, as_pair, check_padding, check_size, mirror

Record = dict[str, Any]

_TRIES = 10  # as in the reference implementations; with the usual settings a try fails one time in twenty or so


@dataclass(frozen=True, slots=True)
class Resize:
    """Scale the image, antialiased, each channel by itself (also alpha, if there is one).

    Attributes:
        size: the shorter side's length, the other follows (rounded down); or exactly (height, width).
        field: the field that holds the image, uint8 or uint16 (H, W, 1, 3 or 4); the result is of the same kind.
        fields: names of several fields that are changed alike, instead of ``field``.
        masks: which of them are masks; None for all but the first.

    Raises:
        ValueError: the size is no positive integer and no pair of them, or the fields cannot be.
        RecordError: (in the worker) a field is missing, holds something else, or differs from the first in size.
        ImportError: (in the worker) OpenCV is not installed.

    >>> Resize(2).map({"image": np.zeros((4, 7, 3), np.uint8)})["image"].shape
    (2, 3, 3)
    """

    size: Size
    field: str = "image"
    fields: Sequence[str] | None = None
    masks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self)
        check_fields(self)

    def map(self, record: Record) -> Record:
        """Return the record with its image scaled."""
        layers = read_layers(record, self)
        rows, columns = layers[0].pixels.shape[:2]
        if not isinstance(self.size, (int, np.integer)):
            height, width = self.size
        elif rows <= columns:
            height, width = self.size, self.size * columns // rows
        else:
            height, width = self.size * rows // columns, self.size
        return {**record, **{layer.name: layer.resized(height, width) for layer in layers}}


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """Cut out the middle of the image, without a copy; what cannot be centred exactly lies up and left by half a pixel.

    Attributes:
        size: (height, width), or one number for both.
        field: the field that holds the image, uint8 or uint16 (H, W, 1, 3 or 4); the result is of the same kind.
        fields: names of several fields that are changed alike, instead of ``field``.
        masks: which of them are masks; None for all but the first.

    Raises:
        ValueError: the size is no positive integer and no pair of them, or the fields cannot be.
        RecordError: (in the worker) a field is missing, holds something else, or differs from the first in size; or
            the image is smaller.

    >>> CenterCrop(2).map({"image": np.arange(16, dtype=np.uint8).reshape(4, 4, 1)})["image"][..., 0].tolist()
    [[5, 6], [9, 10]]
    """

    size: Size
    field: str = "image"
    fields: Sequence[str] | None = None
    masks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self)
        check_fields(self)

    def map(self, record: Record) -> Record:
        """Return the record with the middle of its image."""
        layers = read_layers(record, self)
        height, width = as_pair(self.size)
        rows, columns = layers[0].pixels.shape[:2]
        _check_room(rows, columns, height, width, 0, self)
        top, left = (rows - height) // 2, (columns - width) // 2
        return {**record, **{layer.name: layer.pixels[top : top + height, left : left + width] for layer in layers}}


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Cut out a part of the image, every place equally likely.

    With a padding of 4 this is the usual augmentation of small images (Lee et al., "Deeply-Supervised Nets", AISTATS
    2015; He et al., "Deep Residual Learning for Image Recognition", CVPR 2016).

    Attributes:
        size: (height, width), or one number for both.
        padding: this many rows and columns of zeros are thought around the image first.
        field: the field that holds the image, uint8 or uint16 (H, W, 1, 3 or 4); the result is of the same kind, a
            view of the image when nothing is padded.
        fields: names of several fields that are changed alike, instead of ``field``.
        masks: which of them are masks; None for all but the first.

    Raises:
        ValueError: the size is no positive integer and no pair of them, the padding is no integer from 0 up, or the
            fields cannot be.
        RecordError: (in the worker) a field is missing, holds something else, or differs from the first in size; or
            the image is smaller.

    >>> crop = RandomCrop(32, padding=4)
    >>> crop.random_map({"image": np.zeros((32, 32, 3), np.uint8)}, np.random.default_rng(0))["image"].shape
    (32, 32, 3)
    """

    size: Size
    padding: int = 0
    field: str = "image"
    fields: Sequence[str] | None = None
    masks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self)
        check_fields(self)
        check_padding(self.padding, self)

    def random_map(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with a part of its image."""
        layers = read_layers(record, self)
        height, width = as_pair(self.size)
        rows, columns = layers[0].pixels.shape[:2]
        _check_room(rows, columns, height, width, self.padding, self)
        top = int(rng.integers(rows + 2 * self.padding - height + 1)) - self.padding
        left = int(rng.integers(columns + 2 * self.padding - width + 1)) - self.padding
        return {**record, **{layer.name: _window(layer.pixels, top, left, height, width) for layer in layers}}


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
        field: the field that holds the image, uint8 or uint16 (H, W, 1, 3 or 4); the result is of the same kind.
        fields: names of several fields that are changed alike, instead of ``field``.
        masks: which of them are masks; None for all but the first.

    Raises:
        ValueError: a size, scale, ratio or fields that cannot be.
        RecordError: (in the worker) a field is missing, holds something else, or differs from the first in size.
        ImportError: (in the worker) OpenCV is not installed.

    >>> crop = RandomResizedCrop(224)
    >>> crop.random_map({"image": np.zeros((375, 500, 3), np.uint8)}, np.random.default_rng(0))["image"].shape
    (224, 224, 3)
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    field: str = "image"
    fields: Sequence[str] | None = None
    masks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_size(self.size, self)
        check_fields(self)
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"RandomResizedCrop: scale must be (low, high), 0 < low <= high <= 1, got {self.scale!r}")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"RandomResizedCrop: ratio must be (low, high), 0 < low <= high, got {self.ratio!r}")

    def random_map(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with a part of its image, scaled."""
        layers = read_layers(record, self)
        rows, columns = layers[0].pixels.shape[:2]
        top, left, rows, columns = self.draw_box(rows, columns, rng)
        down, across, (height, width) = slice(top, top + rows), slice(left, left + columns), as_pair(self.size)
        parts = [layer._replace(pixels=layer.pixels[down, across]) for layer in layers]
        return {**record, **{part.name: part.resized(height, width) for part in parts}}

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
    """Mirror the image, or not. Needs no OpenCV, but is quicker with it; the result is the same.

    Attributes:
        probability: of a flip, 0 to 1.
        axis: 1 exchanges left and right, 0 top and bottom.
        field: the field that holds the image, uint8 or uint16 (H, W, 1, 3 or 4); the result is the same or a new array.
        fields: names of several fields that are changed alike, instead of ``field``.
        masks: which of them are masks; None for all but the first.

    Raises:
        ValueError: the probability lies outside of 0 to 1, the axis is another, or the fields cannot be.
        RecordError: (in the worker) a field is missing, holds something else, or differs from the first in size.

    >>> image = np.arange(3, dtype=np.uint8).reshape(1, 3, 1)
    >>> RandomFlip(1.0).random_map({"image": image}, np.random.default_rng(0))["image"].ravel().tolist()
    [2, 1, 0]
    """

    probability: float = 0.5
    axis: int = 1
    field: str = "image"
    fields: Sequence[str] | None = None
    masks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.probability <= 1:
            raise ValueError(f"RandomFlip: probability must lie in 0 to 1, got {self.probability!r}")
        if self.axis not in (0, 1):
            raise ValueError(f"RandomFlip: axis must be 1 (left and right) or 0 (top and bottom), got {self.axis!r}")

    def random_map(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with its image mirrored, or as it is."""
        layers = read_layers(record, self)
        if rng.random() >= self.probability:
            return record
        return {**record, **{layer.name: mirror(layer.pixels, self.axis) for layer in layers}}


def _check_room(rows: int, columns: int, height: int, width: int, padding: int, stage: CenterCrop | RandomCrop) -> None:
    rows, columns = rows + 2 * padding, columns + 2 * padding
    if rows < height or columns < width:
        padded = f" with its padding of {padding}" if padding else ""
        field = stage.field if stage.fields is None else stage.fields[0]
        raise RecordError(
            f"{type(stage).__name__}, field '{field}': expected an image of at least {(height, width)}, found "
            f"{(rows, columns)}{padded}. Put a Resize before it, or ask for less"
        )


def _window(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """Part of an image that goes on as zeros beyond its edges; a view when it lies inside."""
    first_row, first_column = max(top, 0), max(left, 0)
    inside = image[first_row : max(top + height, 0), first_column : max(left + width, 0)]
    if inside.shape[:2] == (height, width):
        return inside
    out = np.zeros((height, width, *image.shape[2:]), image.dtype)
    out[first_row - top :, first_column - left :][: inside.shape[0], : inside.shape[1]] = inside
    return out
