"""Normalisation on the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp import IMAGENET_MEAN, IMAGENET_STD, MemorySource, MemorySourceConfig, Normalize, Pipeline, RandomFlip
from datarax_mp.stages.device import compile_stages

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def normalised(images: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    return (images.astype(np.float64) / 255 - np.array(mean)) / np.array(std)


def test_it_agrees_with_numpy() -> None:
    found = Normalize(IMAGENET_MEAN, IMAGENET_STD)({"image": jnp.asarray(IMAGES), "label": 3})
    assert found["image"].dtype == jnp.float32 and found["label"] == 3
    np.testing.assert_allclose(found["image"], normalised(IMAGES, IMAGENET_MEAN, IMAGENET_STD), atol=2e-6)


def test_one_number_serves_all_channels_and_the_dtype_may_be_narrow() -> None:
    found = Normalize(0.5, 0.25, field="x", dtype="bfloat16")({"x": jnp.asarray(IMAGES)})["x"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), normalised(IMAGES, 0.5, 0.25), rtol=2**-8)


def test_it_stands_among_the_stages_of_a_pipeline() -> None:
    source = MemorySource(MemorySourceConfig(), {"image": IMAGES})
    stages = [RandomFlip(0.0), Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    batches = list(Pipeline(source=source, batch_size=3, stages=stages, rngs=nnx.Rngs(0)))
    assert all(isinstance(batch["image"], jax.Array) for batch in batches)
    found = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_allclose(found, normalised(IMAGES, IMAGENET_MEAN, IMAGENET_STD), atol=2e-6)


def test_equal_stages_share_one_compiled_function_and_others_do_not() -> None:
    compiled = compile_stages([Normalize(np.array(IMAGENET_MEAN), list(IMAGENET_STD))])
    assert compile_stages([Normalize(IMAGENET_MEAN, IMAGENET_STD, dtype=jnp.float32)]) == compiled
    for other in (
        Normalize(IMAGENET_MEAN, 1.0 * np.ones(3)),
        Normalize(IMAGENET_MEAN, IMAGENET_STD, field="x"),
        Normalize(IMAGENET_MEAN, IMAGENET_STD, dtype="float16"),
    ):
        assert compile_stages([other]) != compiled


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((0.5, 0.5), 0.5), ValueError, "got 2 and 1: (0.5, 0.5) and 0.5"),
        (((), ()), ValueError, "got 0 and 0"),
        ((0.5, 0.0), ValueError, "std above 0, got 0.5 and 0.0"),
        ((float("nan"), 1.0), ValueError, "mean must be finite"),
        ((0.5, 1.0, "image", "int32"), TypeError, "must be a float such as 'float32' or 'bfloat16', got 'int32'"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Normalize(*arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"photo": IMAGES}, KeyError, "expected a batch with the field 'image', found ['photo']"),
        ({"image": IMAGES / 255.0}, TypeError, "expected uint8 images, whose white is 255, found float"),
        ({"image": IMAGES[..., :2]}, ValueError, "expected 3 channels in the last axis"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Normalize(IMAGENET_MEAN, IMAGENET_STD)(jax.tree.map(jnp.asarray, data))
    assert message in str(raised.value)
