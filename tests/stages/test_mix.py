"""What MixUp and CutMix make of arrays of every dtype."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from datarax_mp import CutMix, MixUp, Pipeline, RandomMapBatch

NARROW = {"bfloat16": 1 / 128, "float8_e4m3fn": 1 / 8, "float8_e5m2": 1 / 4, "float16": 1 / 1024}
narrow = pytest.mark.parametrize("dtype", NARROW)


def images(dtype: Any) -> np.ndarray:
    """From 0 to 1, as images usually are: rounded to whole numbers there would be next to nothing left of them."""
    return np.random.default_rng(0).random((6, 4, 4)).astype(dtype)


def mixed(image: np.ndarray) -> np.ndarray:
    return MixUp(1.0)({"image": image, "label": np.eye(6)}, np.random.default_rng(3))["image"]


@narrow
def test_narrow_floats_are_mixed_as_floats(dtype: str) -> None:
    found, expected = mixed(images(dtype)), mixed(images(dtype).astype(np.float32))
    assert found.dtype == np.dtype(dtype)
    assert np.allclose(found.astype(np.float32), expected, rtol=2 * NARROW[dtype], atol=2 * NARROW[dtype] ** 2)
    assert len(np.unique(found.astype(np.float32))) > 10


@narrow
def test_workers_deliver_what_they_mixed(dtype: str) -> None:
    source, eye = images(dtype), np.eye(6, dtype=np.float32)
    with Pipeline(
        source=[{"image": source[row], "label": eye[row]} for row in range(6)],
        batch_size=6,
        stages=[RandomMapBatch(MixUp(1.0))],
        seed=1,
        num_workers=1,
    ) as pipeline:
        [batch] = pipeline
    assert batch["image"].dtype == jnp.dtype(dtype)
    assert len(np.unique(np.asarray(batch["image"], np.float32))) > 10


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", ml_dtypes.int4])
def test_integers_are_rounded_and_stay_what_they_are(dtype: Any) -> None:
    image = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 8, (6, 4, 4)).astype(dtype)
    found, expected = mixed(image), mixed(image.astype(np.float32))
    assert found.dtype == np.dtype(dtype)
    assert found.astype(np.float32).tolist() == np.rint(expected).tolist()
    assert len(np.unique(found.astype(int))) > 1


def test_complex_numbers_keep_their_imaginary_part() -> None:
    one = np.complex64(1 + 2j)
    assert np.allclose(mixed(images(np.float32) * one), mixed(images(np.float32)) * one)


@narrow
@pytest.mark.parametrize("mix", [MixUp(1.0), CutMix(1.0)])
def test_labels_of_narrow_floats_are_shares_already(mix: Any, dtype: str) -> None:
    label = np.eye(6).astype(dtype)
    on_host = mix({"image": images(np.float32), "label": label}, np.random.default_rng(3))["label"]
    on_device = mix({"image": jnp.asarray(images(np.float32)), "label": jnp.asarray(label)}, jax.random.key(3))["label"]
    for found in (on_host, on_device):
        assert found.dtype == np.dtype(dtype)
        assert np.allclose(np.asarray(found, np.float32).sum(axis=1), 1, atol=2 * NARROW[dtype])


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_labels_of_class_numbers_need_classes(dtype: str) -> None:
    for array, draw in ((np.asarray, np.random.default_rng(3)), (jnp.asarray, jax.random.key(3))):
        batch = {"image": array(images(np.float32)), "label": array(np.ones(6, dtype))}
        with pytest.raises(TypeError, match="set classes="):
            MixUp()(batch, draw)
