"""Random changes of brightness, contrast, saturation and hue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from datarax_mp.stages.image.pixels import Image, opencv, read_image

Amount: TypeAlias = float | tuple[float, float]

# What each of red, green and blue adds to the brightness that is seen: ITU-R BT.601, as in Pillow and torchvision.
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    The parameters and the meaning of the amounts are torchvision's. Brightness, contrast and saturation mix the image
    with black, with its mean grey and with its own grey, by a factor (1 leaves it as it is); hue turns the colour
    circle (of HSV). The result of each is rounded and clipped before the next. An image with one channel has no
    saturation or hue to change.

    Cheapest after the crop, when the image is small: see the costs in ``datarax_mp.stages.image``.

    Attributes:
        brightness: the factor is drawn from ``max(0, 1 - brightness)`` to ``1 + brightness``, or from (low, high).
        contrast: likewise.
        saturation: likewise.
        hue: at most 0.5; the share of a turn is drawn from ``-hue`` to ``hue``, or from (low, high).
        field: the field that holds the image, uint8 (H, W, 1 or 3), in RGB; the result has its shape and dtype.

    Raises:
        ValueError: an amount is negative, not finite, out of order, or (hue) beyond half a turn.
        RecordError: (in the worker) the field is missing or holds something else.
        ImportError: (in the worker) OpenCV is not installed.

    >>> grey = {"image": np.full((1, 1, 3), 100, np.uint8)}
    >>> ColorJitter(brightness=(0.5, 0.5)).random_map(grey, np.random.default_rng(0))["image"].tolist()
    [[[50, 50, 50]]]
    """

    brightness: Amount = 0.0
    contrast: Amount = 0.0
    saturation: Amount = 0.0
    hue: Amount = 0.0
    field: str = "image"

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            amount = getattr(self, name)
            low, high = _bounds(amount, around=1.0)
            if not 0 <= low <= high < math.inf or (not isinstance(amount, (tuple, list)) and amount < 0):
                raise ValueError(
                    f"ColorJitter: {name} must be a number from 0 up, or (low, high) with 0 <= low <= high, "
                    f"got {amount!r}"
                )
        low, high = _bounds(self.hue, around=0.0)
        if not -0.5 <= low <= high <= 0.5:
            raise ValueError(
                f"ColorJitter: hue must be a number in 0 to 0.5, or (low, high) within -0.5 to 0.5, got {self.hue!r}"
            )

    def random_map(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return the record with the colours of its image changed."""
        image = read_image(record, self.field, self)
        # All is drawn, whatever is asked for: then a change of one setting leaves the others' draws alone.
        shares, order = rng.random(4).tolist(), rng.permutation(4).tolist()
        amounts = (self.brightness, self.contrast, self.saturation, self.hue)
        for place in order:
            change, neutral = _CHANGES[place]
            low, high = _bounds(amounts[place], around=neutral)
            if (amount := low + shares[place] * (high - low)) != neutral:
                image = change(image, amount)
        return {**record, self.field: image}


def _bounds(amount: Amount, around: float) -> tuple[float, float]:
    if isinstance(amount, (tuple, list)):
        low, high = amount
        return low, high
    return (max(0.0, 1 - amount), 1 + amount) if around else (-amount, amount)


def adjust_brightness(image: Image, factor: float) -> Image:
    """Mix an image with black: 0 is black, 1 the image."""
    return _affine(image, factor * np.eye(image.shape[2]), 0.0)


def adjust_contrast(image: Image, factor: float) -> Image:
    """Mix an image with the mean of its greys: 0 is that grey, 1 the image."""
    means = np.array(opencv().mean(image)[: image.shape[2]])
    grey = float(means @ _LUMA) if len(means) == 3 else float(means[0])
    return _affine(image, factor * np.eye(len(means)), (1 - factor) * grey)


def adjust_saturation(image: Image, factor: float) -> Image:
    """Mix an RGB image with its greys: 0 is greyscale, 1 the image. One channel stays as it is."""
    if image.shape[2] == 1:
        return image
    return _affine(image, factor * np.eye(3) + (1 - factor) * _LUMA, 0.0)


def adjust_hue(image: Image, turn: float) -> Image:
    """Turn an RGB image's hues by a share of the circle: 1/3 makes red green. One channel stays as it is."""
    if image.shape[2] == 1:
        return image
    cv2 = opencv()
    # In float32, with values up to 255: quicker than in 8 bits, where every rounded hue costs up to 9 levels.
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 0] += np.float32(turn % 1 * 360)  # OpenCV takes hues of up to two turns, but none below 0
    return cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))  # rounds and clips


def _affine(image: Image, matrix: ArrayLike, offset: float) -> Image:
    """``matrix @ pixel + offset`` for every pixel, rounded and clipped; quicker than a look-up table."""
    channels = image.shape[2]
    whole = np.empty((channels, channels + 1), np.float32)
    whole[:, :channels] = matrix
    whole[:, channels] = offset
    return opencv().transform(image, whole).reshape(image.shape)


# What is done, and the amount that does nothing, in the order of the attributes.
_CHANGES: tuple[tuple[Callable[[Image, float], Image], float], ...] = (
    (adjust_brightness, 1.0),
    (adjust_contrast, 1.0),
    (adjust_saturation, 1.0),
    (adjust_hue, 0.0),
)
