"""What is wanted of Examples, and what they hold instead."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datarax_mp import decode_image
from datarax_mp.formats.features import Features
from tests.formats.examples import example

DATA = example(
    {
        "image": [b"bytes"],
        "name": ["é".encode()],
        "names": [b"a", b"b", b"c", b"d"],
        "label": [7],
        "big": [300, -1],
        "vec": [0.5] * 6,
        "none": None,
    }
)


def parsed(wish: Any, name: str, data: bytes = DATA) -> Any:
    features = Features.asked({name: wish})
    assert features is not None
    return features.of(data)[name]


def test_single_values() -> None:
    assert parsed(bytes, "image") == b"bytes"
    assert parsed(str, "name") == "é"
    assert parsed(len, "image") == 5
    for dtype in (np.int64, np.uint8, "int32", bool, int):
        found = parsed(dtype, "label", example({"label": [1]}))
        assert (found, found.shape, found.dtype) == (1, (), np.dtype(dtype))


def test_several_values() -> None:
    assert parsed((str, (4,)), "names") == ["a", "b", "c", "d"]
    assert parsed((bytes, (None, 2)), "names") == [[b"a", b"b"], [b"c", b"d"]]
    for shape in ((6,), (None,), (2, 3), (None, 3), 6):
        found = parsed((np.float32, shape), "vec")
        assert found.shape == np.zeros(6).reshape([-1 if n is None else n for n in np.atleast_1d(shape)]).shape
        assert found.dtype == np.float32
        assert found.flags.writeable
        assert (found == 0.5).all()
    assert parsed((np.int16, (2,)), "big").tolist() == [300, -1]
    assert parsed((np.float64, (6,)), "vec").dtype == np.float64
    assert parsed((np.int64, (None,)), "none").tolist() == []
    assert parsed((bytes, (None,)), "none") == []
    assert parsed((np.float32, (1,)), "vec", example({"vec": [1.0]})).shape == (1,)


def test_images_are_decoded() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), "png")
    features = Features.asked({"image": decode_image})
    assert features is not None
    assert not features.user_code
    assert np.array_equal(features.of(example({"image": [stream.getvalue()]}))["image"], pixels)


@pytest.mark.parametrize(
    ("name", "wish", "message"),
    [
        ("label", np.float32, "'label': expected 1 float32 values, found 1 int64"),
        ("big", np.int64, "'big': expected 1 int64 values, found 2 int64"),
        ("big", (np.uint8, (2,)), "'big': expected uint8, found 300"),
        ("vec", (np.float32, (4,)), "'vec': expected 4 float32 values, found 6 float32"),
        ("vec", (np.float32, (None, 4)), "'vec': expected any, 4 float32 values, found 6 float32"),
        ("vec", (bytes, (6,)), "'vec': expected 6 bytes values, found 6 float32"),
        ("none", np.int64, "'none': expected 1 int64 values, found 0"),
        ("image", decode_image, "'image': .*expected an image"),
        ("y", bytes, r"'y' is not there; there are big \(2 int64\), image \(1 bytes\), .* none \(0\), vec \(6 float32"),
    ],
)
def test_what_is_there_otherwise_is_told(name: str, wish: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"feature {message}"):
        parsed(wish, name)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (None, "expected bytes, str, a dtype"),
        ("words", "got 'words'"),
        (np.float16, "expected bytes"),
        (object, "expected bytes"),
        ((np.float32, (16, None)), r"expected a shape such as \(16,\)"),
        ((np.float32, (-1,)), "expected a shape"),
        ((np.float32, (2,), 3), "expected bytes"),
    ],
)
def test_what_cannot_be_wanted_is_refused_at_once(wish: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Features.asked({"a": wish})


def test_features_are_a_dict() -> None:
    for wrong in ({}, ["a"], bytes):
        with pytest.raises(TypeError, match="features must be a dict"):
            Features.asked(wrong)  # type: ignore[arg-type]
    assert Features.asked(None) is None
