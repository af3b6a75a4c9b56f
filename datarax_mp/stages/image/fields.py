"""Which fields of a record a stage changes, all in the same way: an image alone, or an image and its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from datarax_mp.core.record import RecordError
from datarax_mp.stages.image.pixels import Image, read_image, read_mask, resize, resize_nearest


class Stage(Protocol):
    """What says which fields it changes.

    Attributes:
        field: the field that holds the image, if it is the only one.
        fields: the names of several that are changed alike, or None.
        masks: which of them are masks; None for all but the first of several.
    """

    @property
    def field(self) -> str: ...  # noqa: D102
    @property
    def fields(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def masks(self) -> Sequence[str] | None: ...  # noqa: D102


class Layer(NamedTuple):
    """One field's pixels.

    Attributes:
        name: the field's.
        pixels: an image (height, width, channels), or a mask, which may lack the channels.
        is_mask: whether the values are names of something, between which there is nothing.
    """

    name: str
    pixels: Image
    is_mask: bool

    def resized(self, height: int, width: int) -> Image:
        """The pixels scaled: antialiased, or the nearest of a mask."""
        return (resize_nearest if self.is_mask else resize)(self.pixels, height, width)


def check_fields(stage: Stage) -> None:
    """Make sure that the names of fields can be.

    Raises:
        ValueError: they are no sequence of different names, ``field`` is given as well, or a mask is none of them.
    """
    kind = type(stage).__name__
    for option, names in (("fields", stage.fields), ("masks", stage.masks)):
        if names is not None and (
            isinstance(names, str)
            or not isinstance(names, Sequence)
            or not all(isinstance(name, str) for name in names)
        ):
            raise ValueError(f"{kind}: {option} must be a sequence of names, such as ('image', 'mask'), got {names!r}")
    if stage.fields is not None and (not stage.fields or len(set(stage.fields)) < len(stage.fields)):
        raise ValueError(f"{kind}: fields must be at least one name, each only once, got {stage.fields!r}")
    if stage.fields is not None and stage.field != "image":
        raise ValueError(f"{kind}: expected field= or fields=, got both: {stage.field!r} and {stage.fields!r}")
    names = stage.fields or (stage.field,)
    if unknown := [name for name in stage.masks or () if name not in names]:
        raise ValueError(f"{kind}: masks must be among the fields {tuple(names)}, got {unknown}")


def read_layers(record: Any, stage: Stage) -> list[Layer]:
    """The pixels of all fields that a stage changes, of one height and width.

    Raises:
        RecordError: a field is missing, holds something else, or differs from the first in height or width.
    """
    if stage.fields is None and stage.masks is None:
        return [Layer(stage.field, read_image(record, stage.field, stage, is_deep=True), False)]
    names = (stage.field,) if stage.fields is None else stage.fields
    masks = stage.masks if stage.masks is not None else names[1:]
    layers = [
        Layer(name, read_mask(record, name, stage), True)
        if name in masks
        else Layer(name, read_image(record, name, stage, is_deep=True), False)
        for name in names
    ]
    size = layers[0].pixels.shape[:2]
    for layer in layers[1:]:
        if layer.pixels.shape[:2] != size:
            raise RecordError(
                f"{type(stage).__name__}, fields '{names[0]}' and '{layer.name}': expected the same height and width, "
                f"found {size} and {layer.pixels.shape[:2]}. Bring them to one size in a stage before"
            )
    return layers
