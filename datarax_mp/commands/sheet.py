"""A batch's images as one picture, each with its record's number and its small fields under it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from datarax_mp.commands.described import Shown
from datarax_mp.commands.table import Refused

_LEAST = 96  # pixels of a cell's width, so that there is room for a label
_LINE = 12  # pixels
_GAP = 4
_LETTER = 6  # pixels of the built-in font, which is of fixed width


def draw(shown: Shown, field: str | None, path: str) -> None:
    """Draw the images of a batch to a file.

    Args:
        shown: the batch.
        field: the field that has them; None where there is just one.
        path: the file; its ending says which kind.

    Raises:
        Refused: there are no images, or several fields of them; or the file cannot be written.
        ImportError: Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError('drawing images needs Pillow: pip install "datarax-mp[images]"', name="PIL") from error

    pictures = [Image.fromarray(pixels) for pixels in _pixels(shown.arrays[_field(shown, field)])]
    zoom = max(1, _LEAST // max(pictures[0].size))  # small ones are shown larger, pixel by pixel
    width, height = (side * zoom for side in pictures[0].size)
    cell, labels = max(width, _LEAST) + _GAP, [_label(shown, row) for row in range(len(pictures))]
    line = height + _LINE * max(map(len, labels)) + _GAP
    columns = math.ceil(math.sqrt(len(pictures) * line / cell))
    sheet = Image.new("RGB", (columns * cell, math.ceil(len(pictures) / columns) * line), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default_imagefont()
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = place % columns * cell, place // columns * line
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, y))
        for number, text in enumerate(label):
            pen.text((x, y + height + number * _LINE), text[: cell // _LETTER], fill="black", font=font)
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be written: {error}") from None


def _field(shown: Shown, field: str | None) -> str:
    """The field whose images are meant."""
    found = [name for name, array in shown.arrays.items() if _is_images(array)]
    if field is None and len(found) == 1:
        return found[0]
    if field in found:
        return str(field)
    which = f"--field {field} is none of those with images" if field is not None else "say which --field to draw"
    raise Refused(f"{which}: {', '.join(found) or 'this batch has none'}")


def _is_images(array: np.ndarray) -> bool:
    """Whether it may be greyscale ``(rows, y, x)`` or has 1, 3 or 4 channels, last."""
    return array.size > 0 and (array.ndim == 3 or (array.ndim == 4 and array.shape[-1] in (1, 3, 4)))


def _pixels(images: np.ndarray) -> np.ndarray:
    """As uint8; values of another range are spread over it, the same for the whole batch."""
    if images.shape[-1] == 1 and images.ndim == 4:
        images = images[..., 0]
    if images.dtype == np.uint8:
        return images
    values = np.nan_to_num(images.astype(np.float64))
    low, high = values.min(), values.max()
    return ((values - low) * (255 / (high - low or 1))).round().astype(np.uint8)


def _label(shown: Shown, row: int) -> list[str]:
    """What is written under an image: its record, and the fields of which it has one value."""
    number = shown.records[row]
    told = ["padding" if number is None else f"record {number}"]
    told += [f"{name} {_brief(array[row])}" for name, array in shown.arrays.items() if array.ndim == 1]
    return told + [f"{name} {_brief(values[row])}" for name, values in shown.info.items()]


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)
