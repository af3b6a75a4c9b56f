"""Augmentation of images, against Pillow, NumPy and colorsys."""

from __future__ import annotations

import colorsys
import dataclasses
import math
import re
import sys
from typing import Any

import numpy as np
import pytest
from flax import nnx
from PIL import Image, ImageEnhance
from skimage import data

from datarax_mp import (
    CenterCrop,
    ColorJitter,
    MemorySource,
    MemorySourceConfig,
    Pipeline,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RecordError,
    Resize,
)
from datarax_mp.stages.image.color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from datarax_mp.stages.image.pixels import resize, resize_nearest

PHOTO = data.astronaut()[:375, :500].copy()  # uint8 (375, 500, 3)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
# One pixel of every hue, saturation and value in coarse steps, greys and pure colours among them.
COLOURS = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).astype(np.uint8).reshape(18, -1, 3)
ALL = [
    Resize(8),
    CenterCrop(8),
    RandomCrop(8, padding=2),
    RandomResizedCrop(8),
    RandomFlip(1.0),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
]


def apply(stage: Any, image: Any, seed: int = 0, field: str = "image") -> Any:
    record = {field: image, "label": 3}
    rng = np.random.default_rng(seed)
    result = stage.map(record) if hasattr(stage, "map") else stage.random_map(record, rng)
    assert result["label"] == 3 and record[field] is image
    return result[field]


def by_pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's bilinear filter, whose support grows with the scale."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def difference(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.uint8
    return np.abs(found.astype(int) - expected.astype(int))


# Resize


@pytest.mark.parametrize("size", [(224, 224), (300, 400), (180, 333), (90, 500), (120, 130), (700, 600)])
def test_a_resize_agrees_with_pillow_within_two_levels_on_average(size: tuple[int, int]) -> None:
    found = difference(apply(Resize(size), PHOTO), by_pillow(PHOTO, *size))
    assert found.mean() < 2.0 and np.percentile(found, 95) <= 10


@pytest.mark.parametrize("size", [(60, 50), (20, 30), (7, 31)])
def test_a_strong_reduction_agrees_with_the_mean_of_every_square(size: tuple[int, int]) -> None:
    height, width = size
    expected = np.asarray(Image.fromarray(PHOTO).resize((width, height), Image.Resampling.BOX))
    found = difference(apply(Resize(size), PHOTO), expected)
    assert found.mean() < 1.2 and np.percentile(found, 95) <= 4  # each halving rounds up: an eighth of a level


@pytest.mark.parametrize("scale", [1.7, 2, 2.6, 3.3, 5, 9])
def test_a_resize_does_not_alias(scale: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    side = round(400 / scale)
    # A mean over all pixels of a square of ``scale`` by ``scale`` divides the deviation by ``scale``.
    assert resize(noise, side, side).std() < 1.05 * noise.std() / scale


def test_a_gradient_stays_in_its_place() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, dtype=np.uint8)[:, None, None], (240, 9, 3))
    for height in (240, 160, 120, 100, 60, 480):
        centres = (np.arange(height) + 0.5) * 240 / height - 0.5
        found = resize(ramp, height, 9)[:, 4, 0]
        inner = slice(height // 20, -height // 20)
        assert np.abs(found - centres)[inner].max() <= 1.0


def test_the_shorter_side_gets_the_length_that_is_asked_for() -> None:
    assert apply(Resize(256), PHOTO).shape == (256, 341, 3)
    assert apply(Resize(256), PHOTO.transpose(1, 0, 2)).shape == (341, 256, 3)
    assert apply(Resize((20, 30)), PHOTO).shape == (20, 30, 3)
    assert apply(Resize(375), PHOTO) is PHOTO


def test_an_extreme_shape_needs_no_extreme_memory() -> None:
    wide = np.zeros((1, 20_000, 3), np.uint8)
    assert apply(Resize((100, 100)), wide).shape == (100, 100, 3)


# Crops and flips


@pytest.mark.parametrize(("size", "rows", "columns"), [(8, (16, 24), (22, 30)), ((40, 51), (0, 40), (0, 51))])
def test_a_centre_crop_is_a_slice(size: Any, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    found = apply(CenterCrop(size), NOISE)
    assert np.array_equal(found, NOISE[slice(*rows), slice(*columns)])
    assert np.shares_memory(found, NOISE)


@pytest.mark.parametrize("padding", [0, 3, 30])
def test_a_random_crop_is_a_slice_of_the_padded_image_and_each_is_as_likely(padding: int) -> None:
    image = np.random.default_rng(1).integers(1, 256, (6, 5, 3), dtype=np.uint8)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = [(top, left) for top in range(6 + 2 * padding - 3) for left in range(5 + 2 * padding - 2)]
    slices = [padded[top : top + 4, left : left + 3].tobytes() for top, left in places]
    found = [apply(RandomCrop((4, 3), padding=padding), image, seed).tobytes() for seed in range(600)]
    assert set(found) <= set(slices)
    if padding == 0:
        counts = [found.count(each) for each in slices]
        assert sum((count - 600 / 9) ** 2 / (600 / 9) for count in counts) < 26.1  # chi squared, 8 degrees, 0.1 %


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_flip_is_exact(axis: int, channels: int) -> None:
    image = NOISE[..., :channels]
    assert np.array_equal(apply(RandomFlip(1.0, axis=axis), image), np.flip(image, axis))
    assert apply(RandomFlip(0.0, axis=axis), image) is image


def test_a_flip_happens_as_often_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    flips = sum(RandomFlip(0.3).random_map({"image": NOISE}, rng)["image"] is not NOISE for _ in range(4000))
    assert abs(flips - 1200) < 4 * math.sqrt(4000 * 0.3 * 0.7)


# RandomResizedCrop


@pytest.mark.parametrize("seed", range(8))
def test_a_random_resized_crop_agrees_with_pillow_on_its_box(seed: int) -> None:
    stage = RandomResizedCrop((96, 128))
    top, left, rows, columns = stage.draw_box(375, 500, np.random.default_rng(seed))
    expected = by_pillow(PHOTO[top : top + rows, left : left + columns], 96, 128)
    found = difference(apply(stage, PHOTO, seed), expected)
    assert found.mean() < 2.0 and np.percentile(found, 95) <= 10


def test_area_ratio_and_place_of_the_box_are_distributed_as_the_paper_says() -> None:
    rng, side = np.random.default_rng(0), 1000
    stage = RandomResizedCrop(224, scale=(0.1, 0.5))  # so small that hardly a box is refused
    boxes = np.array([stage.draw_box(side, side, rng) for _ in range(4000)])
    top, left, rows, columns = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + rows <= side).all() and (left + columns <= side).all()
    for drawn in (
        (rows * columns / side**2 - 0.1) / 0.4,
        (np.log(columns / rows) - math.log(3 / 4)) / math.log(16 / 9),
        top / (side - rows),
        left / (side - columns),
    ):
        assert kolmogorov(drawn) < 1.95 / math.sqrt(4000) + 0.002  # 0.1 %, and the rounding to pixels
    assert abs(np.corrcoef(rows * columns, columns / rows)[0, 1]) < 0.07


def kolmogorov(drawn: np.ndarray) -> float:
    """The largest distance of an empirical distribution to the uniform one."""
    return float(np.abs(np.sort(drawn) - (np.arange(len(drawn)) + 0.5) / len(drawn)).max())


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((10, 1000), (0, 493, 10, 13)),  # too wide: all rows, 10 * 4/3 columns
        ((1000, 10), (493, 0, 13, 10)),  # too tall: all columns, 10 / (3/4) rows
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_where_no_box_fits_the_middle_is_taken(shape: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    stage = RandomResizedCrop(8, scale=(1.0, 1.0))
    assert all(stage.draw_box(*shape, np.random.default_rng(seed)) == box for seed in range(20))


def test_the_whole_image_is_taken_when_only_that_is_asked_for() -> None:
    stage = RandomResizedCrop((375, 500), scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3))
    assert apply(stage, PHOTO) is not None
    assert np.array_equal(apply(stage, PHOTO), PHOTO)


# ColorJitter


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.8, 1.0, 1.4, 2.5])
@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("image", [PHOTO, COLOURS], ids=["photo", "colours"])
def test_colours_agree_with_pillow_within_two_levels(change: Any, reference: Any, image: Any, factor: float) -> None:
    expected = np.asarray(reference(Image.fromarray(image)).enhance(factor))
    found = difference(change(image, factor), expected)
    assert found.max() <= 2 and found.mean() <= 1.05  # Pillow rounds the mean grey, and cuts off where this rounds


@pytest.mark.parametrize("turn", [-0.5, -0.1, -0.003, 0.03, 1 / 3, 0.5])
def test_hues_agree_with_colorsys_within_one_level(turn: float) -> None:
    pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in (COLOURS.reshape(-1, 3) / 255).tolist()]
    turned = [colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value) for hue, saturation, value in pixels]
    expected = np.round(np.array(turned) * 255).astype(np.uint8).reshape(COLOURS.shape)
    assert difference(adjust_hue(COLOURS, turn), expected).max() <= 1


def test_an_image_of_one_channel_has_brightness_and_contrast_only() -> None:
    grey = NOISE[..., :1]
    assert adjust_hue(grey, 0.3) is grey and adjust_saturation(grey, 0.3) is grey
    assert difference(adjust_brightness(grey, 0.5), (grey // 2)).max() <= 1
    expected = np.asarray(ImageEnhance.Contrast(Image.fromarray(grey[..., 0])).enhance(0.5))[..., None]
    assert difference(adjust_contrast(grey, 0.5), expected).max() <= 1
    assert apply(ColorJitter(0.5, 0.5, 0.5, 0.5), grey).shape == grey.shape


def test_the_factors_fill_their_range_and_zero_changes_nothing() -> None:
    assert apply(ColorJitter(), NOISE) is NOISE
    assert apply(ColorJitter(brightness=(1, 1)), NOISE) is NOISE
    white = np.full((1, 1, 3), 200, np.uint8)
    drawn = [int(apply(ColorJitter(brightness=0.25), white, seed)[0, 0, 0]) for seed in range(400)]
    assert 150 <= min(drawn) < 155 and 245 < max(drawn) <= 250
    dark = [int(apply(ColorJitter(brightness=(0.0, 0.1)), white, seed)[0, 0, 0]) for seed in range(100)]
    assert max(dark) <= 20
    # An amount of more than 1 darkens to black at most.
    assert min(int(apply(ColorJitter(brightness=3.0), white, seed)[0, 0, 0]) for seed in range(200)) <= 5


def test_the_order_of_the_changes_is_random() -> None:
    image = np.array([[[250, 100, 20], [10, 200, 250]]], np.uint8)
    bright_first = adjust_contrast(adjust_brightness(image, 1.5), 2.0)
    bright_last = adjust_brightness(adjust_contrast(image, 2.0), 1.5)
    assert not np.array_equal(bright_first, bright_last)
    stage = ColorJitter(brightness=(1.5, 1.5), contrast=(2.0, 2.0))
    found = [apply(stage, image, seed).tobytes() for seed in range(200)]
    assert set(found) == {bright_first.tobytes(), bright_last.tobytes()}
    assert 70 <= found.count(bright_first.tobytes()) <= 130


def test_one_setting_leaves_the_draws_of_the_others_alone() -> None:
    alone = apply(ColorJitter(saturation=0.9), NOISE, 5)
    assert np.array_equal(alone, apply(ColorJitter(saturation=0.9, hue=(0.0, 0.0), contrast=(1, 1)), NOISE, 5))


# All of them


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_read_only_images_and_views_give_what_a_copy_gives(stage: Any, channels: int) -> None:
    view = NOISE[::-1, ::2, :channels]
    view.flags.writeable = False
    before = view.copy()
    found = apply(stage, view)
    assert found.dtype == np.uint8 and found.shape[2] == channels
    assert np.array_equal(found, apply(stage, before))
    assert np.array_equal(view, before)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
def test_another_field_may_hold_the_image(stage: Any) -> None:
    assert apply(dataclasses.replace(stage, field="photo"), NOISE, field="photo").dtype == np.uint8


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize(
    ("image", "found"),
    [
        (NOISE[..., 0], r"found uint8 \(40, 52\)\. Convert it .* image\[\.\.\., None\]"),
        (np.zeros((4, 4, 5), np.uint8), r"found uint8 \(4, 4, 5\)"),
        (np.zeros((4, 4, 2), np.uint16), r"found uint16 \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"found uint8 \(0, 4, 3\)"),
        (NOISE / 255, r"found float64 \(40, 52, 3\)"),
        (Image.fromarray(NOISE), "found Image"),
    ],
    ids=["greyscale", "five channels", "two channels", "empty", "float", "pillow"],
)
def test_what_is_no_image_is_refused(stage: Any, image: Any, found: str) -> None:
    expected = rf"{type(stage).__name__}, field 'image': expected a NumPy array, uint8 \(height, width, channels\)"
    with pytest.raises(RecordError, match=f"{expected}.*{found}"):
        apply(stage, image)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16)])
def test_colours_are_changed_in_eight_bits_without_alpha(image: np.ndarray) -> None:
    with pytest.raises(RecordError, match=rf"with 1 or 3 channels, found {image.dtype} .*image\[\.\.\., :3\]"):
        apply(ColorJitter(0.4), image)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
def test_a_record_without_the_field_is_refused(stage: Any) -> None:
    with pytest.raises(RecordError, match=r"expected a record with this field, found .*\['label', 'x'\]"):
        apply(stage, NOISE, field="x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(0), "Resize: size must be a positive integer or a pair (height, width) of them, got 0"),
        (lambda: CenterCrop((1, 2, 3)), "CenterCrop: size must be a positive integer or a pair"),  # type: ignore
        (lambda: RandomCrop(8.0), "got 8.0"),  # type: ignore
        (lambda: RandomCrop(True), "got True"),
        (lambda: RandomCrop(8, padding=-1), "padding must be an integer of at least 0, got -1"),
        (lambda: RandomResizedCrop("224"), "got '224'"),  # type: ignore
        (lambda: RandomResizedCrop(8, scale=(0.0, 1.0)), "0 < low <= high <= 1, got (0.0, 1.0)"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 1.5)), "0 < low <= high <= 1, got (0.5, 1.5)"),
        (lambda: RandomResizedCrop(8, ratio=(2.0, 1.0)), "0 < low <= high, got (2.0, 1.0)"),
        (lambda: RandomFlip(1.5), "probability must lie in 0 to 1, got 1.5"),
        (lambda: RandomFlip(0.5, axis=2), "axis must be 1 (left and right) or 0 (top and bottom), got 2"),
        (lambda: ColorJitter(brightness=-0.1), "brightness must be a number from 0 up, or (low, high)"),
        (lambda: ColorJitter(contrast=(0.5, 0.2)), "contrast must be a number from 0 up, or (low, high)"),
        (lambda: ColorJitter(saturation=float("nan")), "got nan"),
        (lambda: ColorJitter(hue=0.6), "hue must be a number in 0 to 0.5, or (low, high) within -0.5 to 0.5, got 0.6"),
        (lambda: ColorJitter(hue=-0.1), "got -0.1"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("stage", "found"),
    [(CenterCrop((41, 8)), "(40, 52). Put"), (RandomCrop(64, padding=5), "(50, 62) with its padding")],
)
def test_a_crop_larger_than_the_image_is_refused(stage: Any, found: str) -> None:
    with pytest.raises(RecordError, match="expected an image of at least") as raised:
        apply(stage, NOISE)
    assert found in str(raised.value)


GEOMETRY = [stage for stage in ALL if not isinstance(stage, ColorJitter)]


@pytest.mark.parametrize("stage", GEOMETRY, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shapes_are_changed_with_alpha_and_in_sixteen_bits_alike(stage: Any, channels: int, dtype: Any) -> None:
    image = np.dstack([NOISE, NOISE[::-1, :, :1]])[..., :channels]
    found = apply(stage, image.astype(dtype) * dtype(257 if dtype is np.uint16 else 1))
    assert found.dtype == dtype and found.shape[2] == channels
    expected = np.dstack([apply(stage, image[..., channel : channel + 1]) for channel in range(channels)])
    assert np.abs(found / (257.0 if dtype is np.uint16 else 1.0) - expected).max() <= 1.5  # rounded in between


# Several fields


ROWS, COLUMNS = np.mgrid[0:40, 0:52]
PLACES = np.dstack([ROWS * 6, COLUMNS * 4, np.zeros_like(ROWS)]).astype(np.uint8)  # an image that says where it was
MASK = (ROWS * 1000 + COLUMNS).astype(np.int32)  # and a mask that does


def apply_all(stage: Any, record: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return stage.map(record) if hasattr(stage, "map") else stage.random_map(record, rng)


@pytest.mark.parametrize(
    "stage", [Resize((20, 26)), CenterCrop(16), RandomCrop(16), RandomResizedCrop(16, scale=(0.5, 1))]
)
@pytest.mark.parametrize("seed", range(5))
def test_an_image_and_its_mask_are_cut_and_scaled_alike(stage: Any, seed: int) -> None:
    stage = dataclasses.replace(stage, fields=("image", "mask"))
    found = apply_all(stage, {"image": PLACES, "mask": MASK, "label": 3}, seed)
    image, mask = found["image"], found["mask"]
    assert found["label"] == 3 and mask.dtype == np.int32 and mask.shape == image.shape[:2]
    assert set(mask.ravel().tolist()) <= set(MASK.ravel().tolist())  # no value that was not there
    rows, columns = np.divmod(mask, 1000)
    assert np.abs(image[..., 0] / 6 - rows).max() <= 1 and np.abs(image[..., 1] / 4 - columns).max() <= 1
    assert np.array_equal(image, apply_all(dataclasses.replace(stage, fields=None), {"image": PLACES}, seed)["image"])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_an_image_and_its_mask_are_mirrored_together_or_not_at_all(axis: int, seed: int) -> None:
    found = apply_all(RandomFlip(0.5, axis=axis, fields=("image", "mask")), {"image": PLACES, "mask": MASK}, seed)
    flipped = np.random.default_rng(seed).random() < 0.5
    for name, value in (("image", PLACES), ("mask", MASK)):
        assert np.array_equal(found[name], np.flip(value, axis) if flipped else value)


def test_a_padded_crop_is_zero_beyond_the_edges_of_the_mask_too() -> None:
    stage = RandomCrop(48, padding=30, fields=("image", "mask"))
    for seed in range(20):
        found = apply_all(stage, {"image": np.full((40, 52, 3), 7, np.uint8), "mask": np.full((40, 52), 9.5)}, seed)
        assert np.array_equal(found["mask"] == 9.5, found["image"][..., 0] == 7)
        assert set(np.unique(found["mask"])) <= {0.0, 9.5}


@pytest.mark.parametrize(
    "mask",
    [
        np.arange(12, dtype=np.uint8).reshape(4, 3),
        np.arange(12, dtype=np.uint16).reshape(4, 3, 1),
        np.arange(12, dtype=">u2").reshape(4, 3, 1),
        np.arange(24, dtype=np.int64).reshape(4, 3, 2),
        np.arange(24, dtype=np.float32).reshape(4, 3, 2)[::-1],
        np.arange(12).reshape(4, 3) % 2 == 0,
        np.arange(60, dtype=np.uint8).reshape(4, 3, 5),
    ],
    ids=lambda mask: f"{mask.dtype} {mask.shape}",
)
def test_a_mask_may_be_of_any_kind(mask: np.ndarray) -> None:
    mask.flags.writeable = False
    for stage, expected in (
        (RandomFlip(1.0, field="mask", masks=("mask",)), mask[:, ::-1]),
        (RandomFlip(1.0, axis=0, field="mask", masks=("mask",)), mask[::-1]),
        (Resize((2, 9), field="mask", masks=("mask",)), mask[1::2].repeat(3, axis=1)),
        (Resize((4, 3), field="mask", masks=("mask",)), mask),
        (CenterCrop((2, 3), field="mask", masks=("mask",)), mask[1:3]),
    ):
        found = apply_all(stage, {"mask": mask})["mask"]
        assert found.dtype == mask.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("size", [(20, 26), (13, 17), (80, 104), (41, 51), (1, 1), (97, 3)])
def test_the_nearest_pixel_is_the_one_that_the_centre_lies_in(size: tuple[int, int]) -> None:
    rows, columns = np.divmod(resize_nearest(MASK, *size), 1000)
    for found, length, before in ((rows[:, 0], size[0], 40), (columns[0], size[1], 52)):
        centres = (np.arange(length) + 0.5) * before / length
        assert np.abs(found + 0.5 - centres).max() <= 0.5 + 1e-9
    assert np.array_equal(rows, np.broadcast_to(rows[:, :1], size))
    if size in ((20, 26), (80, 104), (1, 1)):  # elsewhere a centre lies on an edge, and Pillow's floats are off
        by_pillow = Image.fromarray(MASK).resize(size[::-1], Image.Resampling.NEAREST)
        assert np.array_equal(rows * 1000 + columns, np.asarray(by_pillow))


def test_masks_says_which_fields_are_masks() -> None:
    record = {"left": NOISE, "right": NOISE[::-1], "depth": NOISE[..., 0], "image": NOISE}
    found = apply_all(Resize((20, 26), fields=("left", "right", "depth"), masks=("depth",)), record)
    assert np.array_equal(found["right"], apply(Resize((20, 26)), NOISE[::-1]))
    assert set(np.unique(found["depth"])) <= set(np.unique(NOISE[..., 0])) and found["image"] is NOISE
    first = apply_all(CenterCrop(8, fields=("depth", "left"), masks=["depth"]), record)
    assert first["depth"].shape == (8, 8) and first["left"].shape == (8, 8, 3)


@pytest.mark.parametrize("stage", GEOMETRY, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK[:-1], r"fields 'image' and 'mask': expected the same height and width, found \(40, 52\) and \(39, 52\)"),
        (MASK.T, r"fields 'image' and 'mask': .*found \(40, 52\) and \(52, 40\)"),
        (MASK[0], r"field 'mask': expected a mask, .*found int32 \(52,\)"),
        (MASK.astype(object), r"field 'mask': expected a mask, .*found object"),
        (Image.fromarray(NOISE[..., 0]), "field 'mask': expected a mask, .*found Image"),
        (None, "field 'mask': expected a mask, .*found NoneType"),
    ],
    ids=["shorter", "transposed", "row", "objects", "pillow", "none"],
)
def test_a_mask_that_does_not_fit_is_an_error_that_names_it(stage: Any, mask: Any, message: str) -> None:
    stage = dataclasses.replace(stage, fields=("image", "mask"))
    with pytest.raises(RecordError, match=f"{type(stage).__name__}, {message}"):
        apply_all(stage, {"image": NOISE, "mask": mask})
    with pytest.raises(RecordError, match=r"field 'mask': expected a record with this field, found .*\['image'\]"):
        apply_all(stage, {"image": NOISE})


@pytest.mark.parametrize("stage", GEOMETRY, ids=lambda stage: type(stage).__name__)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": "image"}, "fields must be a sequence of names, such as ('image', 'mask'), got 'image'"),
        ({"fields": ()}, "fields must be at least one name"),
        ({"fields": ("a", "a")}, "each only once, got ('a', 'a')"),
        ({"fields": (1, 2)}, "fields must be a sequence of names"),
        ({"fields": ("a", "b"), "field": "c"}, "expected field= or fields=, got both: 'c' and ('a', 'b')"),
        ({"masks": "mask"}, "masks must be a sequence of names"),
        ({"masks": ("mask",)}, "masks must be among the fields ('image',), got ['mask']"),
        ({"fields": ("a", "b"), "masks": ("b", "c")}, "masks must be among the fields ('a', 'b'), got ['c']"),
    ],
)
def test_fields_that_cannot_be_are_refused(stage: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{type(stage).__name__}: ") + ".*" + re.escape(message)):
        dataclasses.replace(stage, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_and_masks_arrive_together_in_a_batch(workers: int) -> None:
    source = [{"image": np.roll(PLACES, k, axis=0), "mask": np.roll(MASK, k, axis=0)} for k in range(6)]
    both = ("image", "mask")
    stages = [RandomResizedCrop(24, scale=(0.5, 1.0), fields=both), RandomFlip(fields=both)]
    options = {"batch_size": 6, "rngs": nnx.Rngs(0), "num_workers": workers, "output": "numpy"}
    with Pipeline(source=source, stages=stages, **options) as pipeline:
        batch = next(iter(pipeline))
    assert batch["image"].shape == (6, 24, 24, 3) and batch["mask"].shape == (6, 24, 24)
    assert np.median(np.abs(batch["image"][..., 1] / 4 - batch["mask"] % 1000)) <= 0.5


def test_a_flip_needs_no_opencv_and_is_the_same_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [NOISE, NOISE[..., :1], np.dstack([NOISE, NOISE[..., :1]]), NOISE[::-1, ::2], NOISE.astype(np.uint16)]
    for image in images:
        for axis in (0, 1):
            with_it = apply(RandomFlip(1.0, axis=axis), image)
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "cv2", None)
                without = apply(RandomFlip(1.0, axis=axis), image)
            assert np.array_equal(with_it, without) and np.array_equal(without, np.flip(image, axis))
            assert without.flags.c_contiguous and not np.shares_memory(without, image)


def test_a_script_without_opencv_crops_and_flips(run_script: Any) -> None:
    run_script(
        "import sys\n"
        "sys.modules['cv2'] = None\n"
        "import numpy as np\n"
        "from datarax_mp import CenterCrop, Pipeline, RandomCrop, RandomFlip\n"
        "images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)\n"
        "stages = [CenterCrop(6), RandomCrop(4), RandomFlip(1.0)]\n"
        "pipeline = Pipeline(source={'image': images}, stages=stages, batch_size=2, seed=0, output='numpy')\n"
        "assert next(iter(pipeline))['image'].shape == (2, 4, 4, 3)\n"
    )


def test_without_opencv_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'pip install "datarax-mp\[images\]"'):
        apply(Resize(8), NOISE)


def test_augmentation_is_the_same_for_every_worker_count_and_batch_size() -> None:
    def augmented(workers: int, batch_size: int) -> dict[int, bytes]:
        images = np.random.default_rng(0).integers(0, 256, (23, 40, 52, 3), dtype=np.uint8)
        source = MemorySource(MemorySourceConfig(shuffle=True), {"image": images, "label": np.arange(23)})
        stages = [
            RandomResizedCrop(24),
            RandomFlip(),
            RandomFlip(axis=0),
            ColorJitter(0.4, 0.4, 0.4, 0.1),
            RandomCrop(24, padding=4),
        ]
        with Pipeline(
            source=source,
            batch_size=batch_size,
            stages=stages,
            rngs=nnx.Rngs(0),
            num_workers=workers,
            output="numpy",
        ) as pipeline:
            return {
                int(label): image.tobytes()
                for batch in pipeline
                for label, image in zip(batch["label"], batch["image"], strict=True)
            }

    first = augmented(0, 4)
    assert len(set(first.values())) == 23
    assert augmented(2, 4) == augmented(2, 7) == augmented(0, 23) == first


def test_image_stages_bring_neither_jax_nor_opencv_until_they_work(run_script: Any) -> None:
    run_script(
        "import sys\n"
        "import numpy as np\n"
        "from datarax_mp import RandomFlip, RandomResizedCrop\n"
        "stages = [RandomResizedCrop(4), RandomFlip(1.0)]\n"
        "assert not {'cv2', 'jax', 'flax'} & set(sys.modules)\n"
        "stages[1].random_map({'image': np.zeros((4, 4, 3), np.uint8)}, np.random.default_rng(0))\n"
        "assert 'cv2' in sys.modules and not {'jax', 'flax'} & set(sys.modules)\n"
    )
