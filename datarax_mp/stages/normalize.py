"""Normalisation of images on the device, where XLA fuses it into whatever reads the image first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from datarax_mp.stages.device import Data, DeviceStage

# Means and standard deviations of the training images of ILSVRC 2012 (Russakovsky et al., "ImageNet Large Scale Visual
# Recognition Challenge", IJCV 2015) in RGB, as shares of 255: the numbers that published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Normalize(DeviceStage):
    """Turn uint8 images into floats on the device: ``(image / 255 - mean) / std``, channel by channel.

    Moved as bytes, a batch of images is a quarter of the size that it has as float32; so this belongs on the device.
    Two that are equal share one compiled function, so a new pipeline per epoch does not compile again.

    Attributes:
        mean: one number per channel, or one for all, as a share of 255. ``IMAGENET_MEAN`` is a usual choice.
        std: likewise, above 0.
        field: the field that holds the images, uint8 (rows, H, W, C).
        dtype: the result's dtype, a float; it is computed in float32 and then rounded. The shape stays.

    Raises:
        ValueError: lengths that differ, a std that is not positive, a number that is not finite; when the stage is
            compiled, another number of channels.
        TypeError: the dtype is no float; when the stage is compiled, the images are not uint8.
        KeyError: when the stage is compiled, there is no such field.

    >>> Normalize(0.5, 0.5).fn({"image": jnp.array([[0], [255]], "uint8")})["image"].tolist()
    [[-1.0], [1.0]]
    >>> Normalize(IMAGENET_MEAN, IMAGENET_STD) == Normalize(list(IMAGENET_MEAN), IMAGENET_STD)
    True
    """

    # The function is the stage itself, for compiled functions are looked up by it and two equal stages are to be found.
    fn: Callable[[Data], Data] = dataclasses.field(init=False, repr=False, compare=False)
    mean: Sequence[float] | float
    std: Sequence[float] | float
    field: str = "image"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        mean, std = (tuple(map(float, np.ravel(numbers))) for numbers in (self.mean, self.std))
        if len(mean) != len(std) or not mean:
            raise ValueError(
                f"Normalize: mean and std must have one number per channel each, got {len(mean)} and {len(std)}: "
                f"{self.mean!r} and {self.std!r}"
            )
        if not all(map(math.isfinite, mean)) or not all(0 < number < math.inf for number in std):
            raise ValueError(f"Normalize: mean must be finite and std above 0, got {self.mean!r} and {self.std!r}")
        if not jnp.issubdtype(jnp.dtype(self.dtype), jnp.floating):
            raise TypeError(f"Normalize: dtype must be a float such as 'float32' or 'bfloat16', got {self.dtype!r}")
        for name, value in (("mean", mean), ("std", std), ("dtype", jnp.dtype(self.dtype).name), ("fn", self)):
            object.__setattr__(self, name, value)  # the class is frozen

    def __call__(self, data: Data) -> Data:
        """Return the batch with its images normalised."""
        if self.field not in data:
            found = sorted(map(str, data))
            raise KeyError(f"Normalize: expected a batch with the field '{self.field}', found {found}. Set field=...")
        images = data[self.field]
        if images.dtype != jnp.uint8:
            raise TypeError(
                f"Normalize, field '{self.field}': expected uint8 images, whose white is 255, found {images.dtype} of "
                f"shape {images.shape}. Leave the conversion to this stage, or write a DeviceStage for this scale"
            )
        mean, std = (jnp.asarray(numbers, jnp.float32) for numbers in (self.mean, self.std))
        if len(mean) not in (1, images.shape[-1]):
            raise ValueError(
                f"Normalize, field '{self.field}': expected {len(mean)} channels in the last axis, one for each mean, "
                f"found shape {images.shape}"
            )
        # One multiplication and one addition per value.
        floats = images.astype(jnp.float32) * (1 / (255 * std)) - mean / std
        return {**data, self.field: floats.astype(self.dtype)}
