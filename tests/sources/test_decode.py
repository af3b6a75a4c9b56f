from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import datarax_mp
from datarax_mp import ImageError
from datarax_mp.sources import by_pillow, decode
from datarax_mp.sources.decode import decode_image
from tests.images import difference, encoded, jpeg, photo

# --- formats


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_formats_without_loss_come_back_as_they_were(kind: str) -> None:
    pixels = decode_image(encoded(photo(), kind), "p")
    assert np.array_equal(pixels, photo())
    assert pixels.flags.writeable and pixels.flags.c_contiguous


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 2, "optimize": True}, {"keep_rgb": True}, {"restart_marker_rows": 1}],
)
def test_jpegs_of_all_kinds(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    pixels = decode_image(data, "p")
    assert difference(pixels, photo()) < 16
    assert difference(pixels, np.asarray(Image.open(io.BytesIO(data)))) <= 1
    assert pixels.flags.writeable and pixels.flags.c_contiguous


def test_webp_and_the_first_frame_of_a_gif() -> None:
    assert np.array_equal(decode_image(encoded(photo(), "WEBP", lossless=True), "p"), photo())
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_image(gif, "p"), np.asarray(frames[0]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    grey = photo()[:, :, 1]
    pixels = decode_image(encoded(grey, kind), "p")
    assert pixels.shape == (40, 60, 3)
    assert (pixels == pixels[:, :, :1]).all()
    assert difference(pixels[:, :, 0], grey) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "cmyk"])
def test_mode_l_gives_one_channel(kind: str) -> None:
    image = Image.fromarray(photo())
    data = jpeg(image.convert("CMYK")) if kind == "cmyk" else encoded(image, kind)
    pixels = decode_image(data, "p", mode="L")
    assert pixels.shape == (40, 60, 1)
    assert difference(pixels[:, :, 0], np.asarray(image.convert("L"))) < 8
    assert decode_image(encoded(photo()[:, :, 0], "PNG"), "p", mode="L").shape == (40, 60, 1)


@pytest.mark.parametrize("stored", ["CMYK", "YCCK", "CMYK without Adobe's segment"])
@pytest.mark.parametrize("min_size", [None, 20])
def test_cmyk_jpegs_become_rgb(stored: str, min_size: int | None) -> None:
    data = jpeg(Image.fromarray(photo()).convert("CMYK"))  # Pillow stores the inks inverted, as Adobe's programs do
    start = data.index(b"Adobe") - 4
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    if "without" in stored:
        data = data[:start] + data[end:]
    if stored == "YCCK":
        luma = np.asarray(Image.fromarray(255 - photo()).convert("YCbCr"))
        no_black = np.full((40, 60, 1), 255, np.uint8)
        inks = 255 - np.concatenate([luma, no_black], axis=2)
        data = jpeg(Image.frombytes("CMYK", (60, 40), inks.tobytes()))
        data = data[: end - 1] + b"\2" + data[end:]  # the segment's last byte says what the values mean
    assert simplejpeg.decode_jpeg_header(data)[2] == stored[:4]
    pixels = decode_image(data, "p", min_size=min_size)
    expected = photo() if min_size is None else photo().reshape(20, 2, 30, 2, 3).mean((1, 3))
    assert difference(pixels, expected) < 12
    if min_size is None:
        assert difference(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))) <= 1


def test_a_palette_becomes_its_colours_and_alpha_is_dropped() -> None:
    few = Image.fromarray(photo()).quantize(8)
    expected = np.asarray(few.convert("RGB"))
    assert np.array_equal(decode_image(encoded(few, "PNG"), "p"), expected)
    assert np.array_equal(decode_image(encoded(few, "PNG", transparency=bytes(range(8))), "p"), expected)
    clear = np.dstack([photo(), np.zeros((40, 60), np.uint8)])
    assert np.array_equal(decode_image(encoded(clear, "PNG"), "p"), photo())
    clear_grey = Image.fromarray(photo()[:, :, 0]).convert("LA")
    assert np.array_equal(decode_image(encoded(clear_grey, "PNG"), "p")[:, :, 2], photo()[:, :, 0])


def test_of_sixteen_bits_the_upper_eight_stay() -> None:
    deep = (photo()[:, :, 0].astype(np.uint16) << 8) + 255
    pixels = decode_image(encoded(deep, "PNG"), "p")
    assert np.array_equal(pixels, np.repeat(photo()[:, :, :1], 3, axis=2))
    assert np.array_equal(decode_image(encoded(deep, "TIFF"), "p", mode="L"), photo()[:, :, :1])
    with pytest.raises(ImageError, match="mode F.*no known range"):
        decode_image(encoded(np.zeros((2, 2), np.float32), "TIFF"), "p")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"  # a tag before it
    exif[0x0112] = orientation
    how = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # what makes of an upright picture the one that the camera stores
    upright = Image.fromarray(photo())
    stored = upright if orientation == 1 else upright.transpose(how[orientation])
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    pixels = decode_image(encoded(stored, kind, exif=exif, **options), "p")
    assert difference(pixels, photo()) < 16
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    "exif",
    [b"", b"II*\0", b"MM\0*\0\0\0\x08\0\x09\x01\x12", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x01\0\x12\x01"],
)
def test_damaged_exif_data_is_no_reason_to_refuse_a_photograph(exif: bytes) -> None:
    for make in (lambda **options: jpeg(**options), lambda **options: encoded(photo(), "PNG", **options)):
        assert difference(decode_image(make(exif=b"Exif\0\0" + exif), "p"), photo()) < 16


def test_the_orientation_is_found_wherever_a_format_lets_it_stand() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = photo()[::-1, ::-1]
    data = jpeg(exif=exif)
    place = data.index(b"\xff\xe1")
    filled = data[:place] + b"\xff\xff" + data[place:]  # any segment may have fill bytes before it
    assert difference(decode_image(filled, "p"), turned) < 16
    png = encoded(photo(), "PNG", exif=exif)
    start, pixels, end = (png.index(name) - 4 for name in (b"eXIf", b"IDAT", b"IEND"))
    moved = png[:start] + png[pixels:end] + png[start:pixels] + png[end:]
    assert start < pixels and moved.index(b"IDAT") < moved.index(b"eXIf")
    assert np.array_equal(decode_image(moved, "p"), turned)


# --- min_size


@pytest.mark.parametrize(
    ("min_size", "shape"),
    [
        (None, (301, 403)),
        (1, (38, 51)),
        (38, (38, 51)),
        (39, (76, 101)),
        (76, (76, 101)),
        (77, (113, 152)),
        (113, (113, 152)),
        (114, (151, 202)),
        (151, (151, 202)),
        (152, (301, 403)),
        (9999, (301, 403)),
    ],
)
def test_min_size_reduces_to_eighths_up_to_a_half_as_far_as_the_shorter_side_allows(
    min_size: int | None, shape: tuple[int, int]
) -> None:
    for turned in (False, True):
        original = photo(301, 403).swapaxes(0, 1) if turned else photo(301, 403)
        data = jpeg(original)
        pixels = decode_image(data, "p", min_size=min_size)
        assert pixels.shape == ((*shape[::-1], 3) if turned else (*shape, 3))
        assert np.array_equal(pixels, decode_image(data, "p", min_size=min_size))
        small = np.asarray(Image.fromarray(original).resize(pixels.shape[1::-1], Image.Resampling.BOX))
        assert difference(pixels, small) < 16


# --- damage


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("min_size", [None, 40])
def test_a_truncated_jpeg_is_an_error(options: dict[str, Any], keep: float, min_size: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    data = jpeg(noise, **options)
    with pytest.raises(
        ImageError, match=r"^p: expected an image, found \d+ bytes that do not decode: .*Replace"
    ) as caught:
        decode_image(data[: int(len(data) * keep)], "p", min_size=min_size)
    assert isinstance(caught.value.__cause__, ValueError | OSError)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_other_truncated_files_are_an_error(kind: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    data = encoded(noise, kind)
    with pytest.raises(ImageError, match="^p: ") as caught:
        decode_image(data[: int(len(data) * keep)], "p")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_whose_middle_is_missing_is_an_error(kind: str) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8), kind)
    middle = len(data) // 2
    with pytest.raises(ImageError):
        decode_image(data[:middle] + data[-2:], "p")


def test_a_png_with_a_changed_byte_is_an_error() -> None:
    data = bytearray(encoded(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8), "PNG"))
    data[len(data) // 2] ^= 255
    with pytest.raises(ImageError):
        decode_image(bytes(data), "p")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found 0 bytes.*the file is empty"),
        (b"hello, this is text", r"b'hello, t', which is no intact header of PNG, JPEG"),
        (b"\xff\xd8\xff", "no intact header"),
        (b"\x89PNG\r\n\x1a\n", "no intact header"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no intact header"),
    ],
)
def test_what_is_no_image_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(data, "p")


def with_junk_at_the_end(data: bytes) -> bytes:
    return data[:-2] + b"\x12" * 40 + data[-2:]


def with_a_sloppy_scan(data: bytes) -> bytes:
    place = data.index(b"\0\x3f\0", data.index(b"\xff\xda")) + 1
    return data[:place] + b"\0" + data[place + 1 :]


def with_an_unknown_version(data: bytes) -> bytes:
    place = data.index(b"JFIF\0") + 5
    return data[:place] + b"\0\0" + data[place + 2 :]


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (with_junk_at_the_end, "extraneous bytes before marker 0xd9"),
        (with_a_sloppy_scan, "Invalid SOS"),
        (with_an_unknown_version, "unknown JFIF revision"),
    ],
)
def test_jpegs_with_a_harmless_fault_are_served_but_not_if_they_are_truncated_too(
    change: Callable[[bytes], bytes], warning: str
) -> None:
    data = jpeg()
    odd = change(data)
    with pytest.raises(ValueError, match=warning):
        simplejpeg.decode_jpeg(odd)
    assert np.array_equal(decode_image(odd, "p"), decode_image(data, "p"))
    with pytest.raises(ImageError, match="truncated|Premature end"):
        decode_image(odd[: len(odd) * 3 // 4], "p")


def test_bytes_after_the_end_of_a_jpeg_are_not_looked_at() -> None:
    assert np.array_equal(decode_image(jpeg() + b"trailing", "p"), decode_image(jpeg(), "p"))


def test_a_subsampling_that_simplejpeg_does_not_know_is_left_to_pillow() -> None:
    data = bytearray(jpeg(photo(8, 24)))
    data[data.index(b"\xff\xc0") + 11] = 0x31  # one unit has three luma blocks side by side, Cb and Cr
    scan = data.index(b"\xff\xda") + 14
    # By the standard's Huffman tables: 63 steps of 2 above the middle grey, no detail; twice the same; no colour.
    bits = "1110" + "111111" + "1010" + 2 * ("00" + "1010") + 2 * ("00" + "00") + "111111"
    odd = bytes(data[:scan]) + int(bits, 2).to_bytes(5, "big") + b"\xff\xd9"
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg_header(odd)
    assert difference(decode_image(odd, "p"), np.full((8, 24, 3), 128 + 63 * 2 // 8)) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_an_image_that_claims_too_many_pixels_is_refused_by_its_header(kind: str) -> None:
    data = bytearray(encoded(Image.new("RGB", (8, 8)), kind))
    if kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = (60000).to_bytes(2, "big") * 2
    elif kind == "PNG":
        data[16:24] = (60000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        data[6:10] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match=str(decode.MAX_PIXELS)):
        decode_image(bytes(data), "p")


# --- more modes


def test_mode_rgba_keeps_alpha_and_is_opaque_where_a_file_has_none() -> None:
    alpha = photo()[:, :, 0]
    both = np.dstack([photo(), alpha])
    assert np.array_equal(decode_image(encoded(both, "PNG"), mode="RGBA"), both)
    assert np.array_equal(decode_image(encoded(both, "TIFF"), mode="RGBA"), both)
    opaque = np.dstack([photo(), np.full((40, 60), 255, np.uint8)])
    assert np.array_equal(decode_image(encoded(photo(), "PNG"), mode="RGBA"), opaque)
    pixels = decode_image(jpeg(), mode="RGBA")
    assert difference(pixels, opaque) < 16 and (pixels[:, :, 3] == 255).all()
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    cmyk = decode_image(jpeg(Image.fromarray(photo()).convert("CMYK")), mode="RGBA")
    assert difference(cmyk, opaque) < 16
    grey = decode_image(encoded(alpha, "PNG"), mode="RGBA")
    assert np.array_equal(grey, np.dstack([alpha, alpha, alpha, opaque[:, :, 3]]))
    few = Image.fromarray(photo()).quantize(8)
    assert np.array_equal(
        decode_image(encoded(few, "PNG", transparency=bytes(range(8))), mode="RGBA")[:, :, 3], np.asarray(few)
    )


DEEP = np.random.default_rng(0).integers(0, 65536, (40, 60), dtype=np.uint16)


def pgm(values: np.ndarray, most: int, *, plain: bool = False, comment: str = "") -> bytes:
    header = f"P{2 if plain else 5}\n{comment}{values.shape[1]} {values.shape[0]}\n{most}\n".encode()
    if plain:
        return header + b"\n".join(b" ".join(str(value).encode() for value in row) for row in values.tolist())
    return header + values.astype("u1" if most < 256 else ">u2").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        encoded(DEEP, "PNG"),
        encoded(DEEP, "TIFF"),
        encoded(DEEP, "TIFF", compression="tiff_deflate"),
        encoded(Image.frombytes("I;16B", (60, 40), DEEP.astype(">u2").tobytes()), "TIFF"),
        encoded(DEEP, "JPEG2000"),
        encoded(DEEP.astype(np.int32), "PPM"),
        pgm(DEEP, 65535),
        pgm(DEEP, 65535, plain=True),
        pgm(DEEP, 65535, comment="# 1 2 3\n#\n"),
    ],
    ids=["png", "tiff", "tiff deflate", "tiff big-endian", "jp2", "pgm by Pillow", "pgm", "plain pgm", "comments"],
)
def test_grey_of_sixteen_bits_comes_as_it_is_stored(data: bytes) -> None:
    pixels = decode_image(data, mode="I;16")
    assert pixels.dtype == np.uint16 and pixels.dtype.isnative and pixels.shape == (40, 60, 1)
    assert np.array_equal(pixels[:, :, 0], DEEP)
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    upper = (DEEP >> 8).astype(np.uint8)[:, :, None]
    assert np.array_equal(decode_image(data, mode="L"), upper)
    assert np.array_equal(decode_image(data), np.repeat(upper, 3, axis=2))
    assert np.array_equal(decode_image(data, mode="RGBA")[:, :, :3], np.repeat(upper, 3, axis=2))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("most", [1, 100, 255, 1000, 4095])
def test_a_pgm_of_any_depth_is_stored_values_under_i16_and_a_share_of_white_otherwise(most: int, plain: bool) -> None:
    values = np.random.default_rng(0).integers(0, most + 1, (40, 60))
    data = pgm(values, most, plain=plain)
    assert np.array_equal(decode_image(data, mode="I;16")[:, :, 0], values)
    assert np.abs(decode_image(data, mode="L")[:, :, 0] - values * 255 / most).max() <= 1
    if most <= 255:
        assert np.array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_grey_of_eight_bits_keeps_its_values_under_i16() -> None:
    grey = photo()[:, :, 0]
    assert np.array_equal(decode_image(encoded(grey, "PNG"), mode="I;16")[:, :, 0], grey)
    data = jpeg(grey)
    pixels = decode_image(data, mode="I;16")
    assert pixels.dtype == np.uint16 and np.array_equal(pixels, decode_image(data, mode="L"))
    signed = np.array([[0, 70, 65535]], np.int32)
    assert decode_image(encoded(signed, "TIFF"), mode="I;16").ravel().tolist() == [0, 70, 65535]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(photo(), "PNG"), "grey values, found colours.*mode RGB.*mode='L'"),
        (jpeg(), "grey values, found colours.*YCbCr.*mode='L'"),
        (encoded(Image.fromarray(photo()).quantize(4), "PNG"), "mode P"),
        (encoded(Image.fromarray(photo()).convert("LA"), "PNG"), "mode LA"),
        (encoded(np.array([[-5, 7]], np.int32), "TIFF"), "between -5 and 7, which uint16 does not hold"),
        (encoded(np.array([[5, 70000]], np.int32), "TIFF"), "between 5 and 70000"),
        (pgm(DEEP, 65535)[:-1], "smaller than requested"),
        (pgm(DEEP, 65535, plain=True)[:2000], "truncated"),
        (b"P5\n3 2\n70000\n" + bytes(12), "cannot be"),
        (b"P2\n2 1\n99\n1 100\n", "between 1 and 100, white being 99"),
        (b"P2\n2 1\n99\n-1 7\n", "between -1 and 7"),
        (b"P2\n2 1\n99\none two\n", "invalid literal"),
    ],
    ids=[
        "rgb",
        "jpeg",
        "palette",
        "alpha",
        "negative",
        "large",
        "short pgm",
        "short plain pgm",
        "bad pgm",
        "too white",
        "below zero",
        "words",
    ],
)
def test_what_is_no_grey_of_sixteen_bits_is_an_error_under_i16(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(data, mode="I;16")


def tiff(bits: int, photometric: int, pixels: bytes, shape: tuple[int, int]) -> bytes:
    """A TIFF of one strip without compression, as scanners write it and Pillow does not."""
    height, width = shape
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 122,
        277: 1,
        278: height,
        279: len(pixels),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels  # these begin at 122


def test_a_tiff_of_twelve_bits_is_no_darker_than_others() -> None:
    data = tiff(12, 1, bytes.fromhex("fff800"), (1, 2))
    assert decode_image(data, mode="I;16").ravel().tolist() == [4095, 2048]
    assert decode_image(data, mode="L").ravel().tolist() == [255, 128]


def test_a_tiff_whose_zero_is_white_is_no_negative() -> None:
    deep = struct.pack("<2H", 0, 0xC0FF)
    data = tiff(16, 0, deep, (1, 2))
    assert decode_image(data, mode="L").ravel().tolist() == [255, 63]
    assert decode_image(data, mode="I;16").ravel().tolist() == [0, 0xC0FF]
    assert decode_image(tiff(8, 0, b"\0\xc0", (1, 2)), mode="L").ravel().tolist() == [255, 63]


def test_odd_text_in_a_png_is_no_reason_to_refuse_it() -> None:
    text = PngInfo()
    for key in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        text.add_itxt(key, "words \u2013 and no data")
    assert np.array_equal(decode_image(encoded(photo(), "PNG", pnginfo=text)), photo())


def test_a_tiff_of_four_inks_becomes_what_was_asked_for() -> None:
    data = encoded(Image.fromarray(photo()).convert("CMYK"), "TIFF")
    rgb = decode_image(data)
    assert rgb.shape == (40, 60, 3)
    assert np.array_equal(decode_image(data, mode="RGBA"), np.dstack([rgb, np.full((40, 60), 255, np.uint8)]))
    assert decode_image(data, mode="L").shape == (40, 60, 1)


def test_a_deep_image_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(DEEP, "PNG", exif=exif)
    assert np.array_equal(decode_image(data, mode="I;16")[:, :, 0], np.rot90(DEEP, -1))


# --- more formats


@pytest.mark.parametrize("kind", ["TGA", "JPEG2000"])
def test_more_formats_without_loss(kind: str) -> None:
    assert np.array_equal(decode_image(encoded(photo(), kind)), photo())


def test_a_tga_without_a_signature_is_known_by_its_name() -> None:
    data = encoded(photo(), "TGA")
    assert data.endswith(b"TRUEVISION-XFILE.\0")
    old = data[:-26]
    assert np.array_equal(decode_image(old, "a.TGA"), photo())
    with pytest.raises(ImageError, match="no intact header"):
        decode_image(old, "a.png")


has_avif = pytest.mark.skipif("AVIF" not in by_pillow.readable_formats(), reason="needs a Pillow that reads AVIF")


@has_avif
def test_avif_is_read() -> None:
    assert np.abs(decode_image(encoded(photo(), "AVIF", quality=95)).astype(int) - photo()).mean() < 3


def test_mpo_apng_and_the_other_maps() -> None:
    stereo = encoded(Image.fromarray(photo()), "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    assert difference(decode_image(stereo), photo()) < 60
    frames = [Image.fromarray(photo()), Image.new("RGB", (60, 40))]
    assert np.array_equal(decode_image(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])), photo())
    black_and_white = Image.fromarray(photo()).convert("1")
    bits = decode_image(encoded(black_and_white, "PPM"), "a.pbm", mode="L")
    assert np.array_equal(bits[:, :, 0], np.asarray(black_and_white) * np.uint8(255))


@has_avif
def test_a_format_that_this_pillow_does_not_read_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_pillow, "readable_formats", lambda: ("PNG",))
    with pytest.raises(ImageError, match="no intact header of PNG"):
        decode_image(encoded(photo(), "AVIF"))


# --- orientation in odd places


def exif_with(kind: int, value: bytes, count: int = 1, order: str = "II") -> bytes:
    endian: Any = "little" if order == "II" else "big"
    entry = b"".join(number.to_bytes(size, endian) for number, size in ((0x0112, 2), (kind, 2), (count, 4)))
    return (
        (b"Exif\0\0" + order.encode() + (42).to_bytes(2, endian) + (8).to_bytes(4, endian) + (1).to_bytes(2, endian))
        + entry
        + value.ljust(4, b"\0")
        + bytes(4)
    )


TURNED = photo()[::-1, ::-1]  # what orientation 3 stands for


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize(("kind", "size"), [(1, 1), (3, 2), (4, 4), (6, 1), (8, 2), (9, 4), (13, 4)])
def test_an_orientation_may_be_of_any_integer_type(kind: int, size: int, order: str) -> None:
    exif = exif_with(kind, (3).to_bytes(size, "little" if order == "II" else "big"), order=order)
    assert difference(decode_image(jpeg(exif=exif)), TURNED) < 16
    assert np.array_equal(decode_image(encoded(photo(), "PNG", exif=exif)), TURNED)
    assert np.array_equal(decode_image(encoded(photo(), "WEBP", lossless=True, exif=exif)), TURNED)


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_a_tiff_may_say_its_orientation_in_any_integer_type(kind: int) -> None:
    data = encoded(photo(), "TIFF", tiffinfo={0x0112: 3})
    place = data.index(b"\x12\x01\x03\0\x01\0\0\0")
    odd = (
        data[: place + 2] + kind.to_bytes(2, "little") + data[place + 4 : place + 8] + b"\3\0\0\0" + data[place + 12 :]
    )
    assert np.array_equal(decode_image(odd), TURNED)


@pytest.mark.parametrize(
    "exif",
    [exif_with(3, b"\0\0"), exif_with(3, b"\x09\0"), exif_with(2, b"3\0"), exif_with(6, b"\xff"), exif_with(16, b"")],
)
def test_an_orientation_that_cannot_be_is_upright(exif: bytes) -> None:
    assert difference(decode_image(jpeg(exif=exif)), photo()) < 16


def xmp_with(orientation: int, form: str = 'tiff:Orientation="{}"') -> bytes:
    inside = form.format(orientation)
    if inside.startswith("<"):
        return f"<x:xmpmeta><rdf:Description>{inside}</rdf:Description></x:xmpmeta>".encode()
    return f"<x:xmpmeta><rdf:Description {inside}/></x:xmpmeta>".encode()


def jpeg_with(xmp: bytes, **options: Any) -> bytes:
    content = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    data = jpeg(**options)
    return data[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


@pytest.mark.parametrize(
    "form", ['tiff:Orientation="{}"', "tiff:Orientation = '{}'", "<tiff:Orientation>{}</tiff:Orientation>"]
)
def test_an_orientation_in_xmp_is_applied(form: str) -> None:
    xmp = xmp_with(3, form)
    assert difference(decode_image(jpeg_with(xmp)), TURNED) < 16
    assert np.array_equal(decode_image(encoded(photo(), "WEBP", lossless=True, xmp=xmp)), TURNED)
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    assert np.array_equal(decode_image(encoded(photo(), "PNG", pnginfo=text)), TURNED)
    assert np.array_equal(decode_image(encoded(photo(), "TIFF", tiffinfo={700: xmp_with(3)})), TURNED)


def test_exif_counts_where_xmp_says_something_else() -> None:
    upright = exif_with(3, b"\1\0")
    for data in (
        jpeg_with(xmp_with(3), exif=upright),
        encoded(photo(), "WEBP", lossless=True, exif=upright, xmp=xmp_with(3)),
        encoded(photo(), "TIFF", tiffinfo={0x0112: 1, 700: xmp_with(3)}),
    ):
        assert difference(decode_image(data), photo()) < 16
    no_orientation = exif_with(3, b"\3\0").replace(b"\x12\x01", b"\x13\x01")
    assert difference(decode_image(jpeg_with(xmp_with(3), exif=no_orientation)), TURNED) < 16


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("key", "profile"),
    [
        ("exif", exif_with(3, b"\3\0")),
        ("APP1", exif_with(4, b"\3")),
        ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + xmp_with(3)),
        ("xmp", xmp_with(3)),
    ],
)
def test_an_orientation_in_the_text_of_a_png_is_applied(key: str, profile: bytes, compressed: bool) -> None:
    digits = profile.hex()
    lines = "\n".join(digits[place : place + 72] for place in range(0, len(digits), 72))
    text = PngInfo()
    text.add_text(f"Raw profile type {key}", f"\n{key}\n{len(profile):8}\n{lines}\n", zip=compressed)
    assert np.array_equal(decode_image(encoded(photo(), "PNG", pnginfo=text)), TURNED)
    text = PngInfo()
    text.add_text(f"Raw profile type {key}", "\nexif\n  4\nno digits")
    assert np.array_equal(decode_image(encoded(photo(), "PNG", pnginfo=text)), photo())


# --- for everybody


def test_decode_image_takes_whatever_holds_bytes() -> None:
    assert datarax_mp.decode_image is decode_image and "decode_image" in datarax_mp.__all__
    data = encoded(photo(), "PNG")
    for held in (
        data,
        bytearray(data),
        memoryview(data),
        np.frombuffer(data, np.uint8),
        np.frombuffer(data, "u1")[:, None],
    ):
        assert np.array_equal(decode_image(held), photo())


@pytest.mark.parametrize("wrong", ["a.png", Path("a.png"), Image.new("RGB", (1, 1)), np.zeros(3), None])
def test_what_holds_no_bytes_is_a_type_error_that_says_what_to_do(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"found {type(wrong).__name__}.*read_bytes"):
        decode_image(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "BGR"}, "mode must be one of.*'I;16'.*got 'BGR'"),
        ({"min_size": 0}, "min_size.*got 0"),
        ({"pixel_limit": 0}, "pixel_limit.*None for no limit, got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_image(encoded(photo(), "PNG"), **options)


def test_the_error_of_an_image_that_is_no_file_says_so() -> None:
    with pytest.raises(ImageError, match="^<bytes>: expected an image, found 4 bytes"):
        decode_image(b"text")


def test_without_decoders_it_is_an_import_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, data in (("simplejpeg", jpeg()), ("PIL", encoded(photo(), "PNG"))):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=r'pip install "datarax-mp\[images\]"'):
                decode_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "PPM", "WEBP", "TIFF", "BMP"])
def test_pixel_limit_refuses_by_the_header_and_allows_what_it_says(kind: str) -> None:
    data = encoded(photo(), kind)
    with pytest.raises(ImageError, match="60 x 40 pixels are more than the 2399.*pixel_limit"):
        decode_image(data, pixel_limit=2399)
    for enough in (2400, None):
        assert decode_image(data, pixel_limit=enough).shape == (40, 60, 3)
    assert decode_image(pgm(DEEP, 65535), pixel_limit=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match="2399"):
        decode_image(pgm(DEEP, 65535), pixel_limit=2399)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_a_larger_limit_than_pillows_is_kept_to_and_pillows_own_stays(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = encoded(photo(), kind)
    assert decode_image(data, pixel_limit=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match="2399"):
        decode_image(data, pixel_limit=2399)
    assert Image.MAX_IMAGE_PIXELS == 1000
