"""JPEGs with harmless faults, against Pillow on the same files."""

from __future__ import annotations

import io
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from datarax_mp import ImageError, decode_image
from datarax_mp.sources.jpeg import segments

KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "restart markers": {"restart_marker_rows": 1},
    "restart markers within rows": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "progressive with restart markers": {"progressive": True, "restart_marker_rows": 2},
    "no subsampling": {"subsampling": 0, "optimize": True},
}
NOISE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def jpeg(image: np.ndarray = NOISE, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", **{"quality": 60, **options})
    return stream.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def behind_pixels(data: bytes) -> list[int]:
    """Where the markers are that coded pixels come before."""
    found = list(segments(data))
    coded = {0xDA, *range(0xD0, 0xD8)}
    return [after[1] for before, after in pairwise(found) if before[0] in coded]


def with_junk(data: bytes, places: list[int], junk: bytes = b"\x12\x34\x56\x78\x9a\xbc\xde\xf0\x13\x57") -> bytes:
    for place in sorted(places, reverse=True):
        data = data[:place] + junk + data[place:]
    return data


def is_refused_by_its_decoder(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(data, strict=True)
    except ValueError:
        return True
    return False


# --- harmless


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("which", ["first", "last", "all"])
def test_stray_bytes_behind_coded_pixels_change_nothing(options: dict[str, Any], which: str) -> None:
    data = jpeg(**options)
    places = {"first": behind_pixels(data)[:1], "last": behind_pixels(data)[-1:], "all": behind_pixels(data)}[which]
    odd = with_junk(data, places)
    assert is_refused_by_its_decoder(odd)
    assert np.array_equal(decode_image(odd), by_pillow(data))


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_stray_bytes_before_any_marker_of_the_header_change_nothing(options: dict[str, Any]) -> None:
    data = jpeg(**options, icc_profile=b"profile", comment=b"words")
    markers, header = [list(column) for column in zip(*segments(data), strict=True)][:2]
    header = header[: markers.index(0xDA) + 1]
    for places in ([place] for place in header):
        odd = with_junk(data, places, b"abc")
        assert is_refused_by_its_decoder(odd)
        assert np.array_equal(decode_image(odd), by_pillow(data))
    assert np.array_equal(decode_image(with_junk(data, header, b"\0")), by_pillow(data))


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_stray_bytes_of_any_number_at_any_places_change_nothing(options: dict[str, Any]) -> None:
    draw = random.Random(0)
    data = jpeg(np.sort(NOISE, axis=0), **options)
    expected = by_pillow(data)
    for _ in range(25):
        places = sorted(draw.sample([begin for _, begin, _, _ in segments(data)], 2), reverse=True)
        odd = data
        for place in places:
            odd = odd[:place] + draw.randbytes(draw.choice([1, 2, 3, 8, 40])).replace(b"\xff", b"\0") + odd[place:]
        assert np.array_equal(decode_image(odd), expected)


@pytest.mark.parametrize("numbers", [(0, 1), (2, 1), (1, 2), (1, 0), (255, 255)])
def test_an_odd_colour_profile_changes_nothing(numbers: tuple[int, int]) -> None:
    data = jpeg(icc_profile=b"x" * 100)
    place = data.index(b"ICC_PROFILE\0") + 12
    odd = data[:place] + bytes(numbers) + data[place + 2 :]
    assert is_refused_by_its_decoder(odd)
    assert np.array_equal(decode_image(odd), by_pillow(data))


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}])
def test_a_missing_end_marker_is_no_loss_where_all_pixels_are_there(options: dict[str, Any], cut: int) -> None:
    data = jpeg(**options)
    assert np.array_equal(decode_image(data[:-cut]), by_pillow(data))
    assert np.array_equal(decode_image(data[:-2] + bytes(100)), by_pillow(data))


@pytest.mark.parametrize("size", [None, 20])
def test_a_mended_file_is_reduced_like_any_other(size: int | None) -> None:
    for options in KINDS.values():
        if options.get("progressive") and "restart_marker_rows" in options:
            continue  # Pillow decodes it, and whole
        data = jpeg(**options)
        odd = with_junk(data, behind_pixels(data)[:1])
        assert np.array_equal(decode_image(odd, min_size=size), decode_image(data, min_size=size))


def test_all_modes_take_a_file_with_stray_bytes() -> None:
    for image, mode in ((NOISE, "L"), (NOISE, "RGBA"), (NOISE[:, :, 0], "I;16"), (NOISE[:, :, 0], "RGB")):
        data = jpeg(image, restart_marker_rows=1)
        odd = with_junk(data, behind_pixels(data))
        assert np.array_equal(decode_image(odd, mode=mode), decode_image(data, mode=mode))  # type: ignore[arg-type]


def test_an_orientation_behind_stray_bytes_is_found() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = jpeg(exif=exif)
    odd = with_junk(data, [data.index(b"\xff\xe1")], b"abc")
    assert np.array_equal(decode_image(odd), by_pillow(data)[::-1, ::-1])


def test_many_restart_intervals_do_not_take_long() -> None:
    data = jpeg(np.tile(NOISE, (4, 4, 1)), restart_marker_blocks=1)
    assert len(behind_pixels(data)) == 23 * 30
    assert np.array_equal(decode_image(with_junk(data, behind_pixels(data))), by_pillow(data))


def test_intervals_longer_than_the_widest_image_are_looked_at_too() -> None:
    wide = np.tile(NOISE[:16], (40, 17, 1))[:, :2000]  # 125 units side by side
    data = jpeg(wide, restart_marker_rows=33)  # 4,125 of them: 66,000 pixels
    assert np.array_equal(decode_image(with_junk(data, behind_pixels(data))), by_pillow(data))


# --- damage behind a harmless fault


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("place", ["header", "pixels"])
@pytest.mark.parametrize("keep", [0.5, 0.8, 0.95])
def test_a_truncated_file_with_stray_bytes_is_an_error(options: dict[str, Any], place: str, keep: float) -> None:
    data = jpeg(**options)
    first = data.index(b"\xff\xdb") if place == "header" else behind_pixels(data)[0]
    odd = with_junk(data, [first])
    with pytest.raises(ImageError, match="truncated|[Pp]remature end|extraneous bytes"):
        decode_image(odd[: int(len(odd) * keep)])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_file_whose_middle_is_missing_is_an_error_with_stray_bytes_too(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    odd = with_junk(data, [data.index(b"\xff\xdb")])
    middle = len(odd) // 2
    with pytest.raises(ImageError):
        decode_image(odd[:middle] + odd[-2:])


def test_missing_and_exchanged_restart_intervals_are_an_error() -> None:
    data = jpeg(restart_marker_rows=1)
    places = behind_pixels(data)
    first, second, third = places[:3]
    for damaged in (
        data[:first] + data[second:],
        data[:first] + data[second:third] + data[first:second] + data[third:],
        data[: places[-2]] + data[places[-1] :],
    ):
        with pytest.raises(ImageError, match="Corrupt JPEG data"):
            decode_image(damaged)
        with pytest.raises(ImageError, match="Corrupt JPEG data"):
            decode_image(with_junk(damaged, behind_pixels(damaged)[:1]))


def test_an_interval_that_is_cut_short_behind_one_with_stray_bytes_is_an_error() -> None:
    data = jpeg(restart_marker_rows=1)
    places = behind_pixels(data)
    short = data[: places[3] - 20] + data[places[3] :]
    with pytest.raises(ImageError, match="premature end of data segment"):
        decode_image(with_junk(short, places[:1]))


def test_a_scan_that_is_cut_short_behind_one_with_stray_bytes_is_an_error() -> None:
    data = jpeg(progressive=True)
    places = behind_pixels(data)
    short = data[: places[4] - 20] + data[places[4] :]
    with pytest.raises(ImageError, match="premature end of data segment"):
        decode_image(with_junk(short, places[:1]))


def test_a_progressive_file_without_an_end_is_an_error_for_scans_may_be_missing() -> None:
    with pytest.raises(ImageError, match="Premature end"):
        decode_image(jpeg(progressive=True)[:-2])


# --- other codes and odd headers


def arithmetic(pixels: bytes, frame: int = 0xC9) -> bytes:
    """A grey JPEG of 8 by 8 pixels in arithmetic code, which Pillow reads and does not write."""
    data = jpeg(NOISE[:8, :8, 0])
    place, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    return data[: place + 1] + bytes((frame,)) + data[place + 2 : scan + 10] + pixels + b"\xff\xd9"


@pytest.mark.parametrize("pixels", [b"\x12\x34" * 20, b"\x80" * 5])
def test_stray_bytes_behind_an_arithmetic_code_change_nothing(pixels: bytes) -> None:
    data = arithmetic(pixels)
    assert is_refused_by_its_decoder(data)
    assert np.array_equal(decode_image(data), by_pillow(data))
    assert np.array_equal(decode_image(with_junk(data, [data.index(b"\xff\xda")])), by_pillow(data))


def test_an_arithmetic_code_without_an_end_is_an_error_for_it_may_be_truncated() -> None:
    with pytest.raises(ImageError, match="Premature end"):
        decode_image(arithmetic(b"\x80" * 5)[:-2])


@pytest.mark.parametrize("code", [3, 5, 200])
def test_an_unknown_colour_transform_is_taken_as_by_pillow(code: int) -> None:
    stream = io.BytesIO()
    Image.fromarray(NOISE).convert("CMYK").save(stream, "JPEG", quality=90)
    data = stream.getvalue()
    place = data.index(b"Adobe") + 11
    odd = data[:place] + bytes((code,)) + data[place + 1 :]
    assert is_refused_by_its_decoder(odd)
    assert np.abs(decode_image(odd).astype(int) - by_pillow(odd)).max() <= 1
    both = with_junk(odd, behind_pixels(odd))
    assert np.array_equal(decode_image(both), decode_image(odd))
