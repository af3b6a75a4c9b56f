"""Records mixed with others of their batch: MixUp and CutMix, for the workers and for the device.

MixUp (Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018) blends two images, CutMix (Yun et al.,
"CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019) puts a box of one
into the other; labels are blended by the same shares. Each row draws its own share, and a permutation of the batch
says with whom it is mixed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np


class _Numbers(NamedTuple):
    """What is drawn for a batch, by NumPy or JAX.

    Attributes:
        share: float32 ``(rows,)``, from 0 to 1, of a row's own.
        partner: int ``(rows,)``.
        centre: float32 ``(2, rows)``, from 0 to 1.
    """

    share: Any
    partner: Any
    centre: Any


@dataclass(frozen=True, slots=True)
class _Mix:
    """What both have in common.

    Attributes:
        alpha: both parameters of the Beta distribution of shares, above 0.
        classes: how many there are, if labels are class numbers, integers from 0 on; they become float32
            ``(rows, classes)``. None is for labels that are shares already.
        image: the field that holds images, ``(rows, H, W, ...)``.
        label: the field that holds labels, ``(rows,)`` or ``(rows, classes)``.
    """

    mixes_rows: ClassVar[bool] = True

    alpha: float
    classes: int | None = None
    image: str = "image"
    label: str = "label"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"{type(self).__name__}: alpha must be above 0, got {self.alpha!r}")
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"{type(self).__name__}: classes must be at least 1, got {self.classes!r}")

    def __call__(self, batch: dict[str, Any], draw: Any) -> dict[str, Any]:
        """Mix a batch.

        Args:
            batch: arrays of NumPy's or JAX's.
            draw: an ``np.random.Generator`` for the former, a key for the latter.

        Raises:
            KeyError: a field is missing.
            TypeError: labels are class numbers, and ``classes`` is not set; or it is, and they are no integers.
            ValueError: with ``classes``, labels have other than one axis; or one of NumPy's is none of the classes.
                JAX cannot raise for what a label is: there the shares of its row are NaN, and so is the loss.
        """
        for field in (self.image, self.label):
            if field not in batch:
                raise KeyError(
                    f"{type(self).__name__}: expected a batch with the field '{field}', found {sorted(batch)}"
                )
        image = batch[self.image]
        xp, numbers = self._drawn(len(image), draw)
        mixed, share = self._mixed(xp, image, numbers)
        labels = self._labels(xp, batch[self.label])
        weight = share.reshape(-1, *[1] * (labels.ndim - 1)).astype(labels.dtype)
        labels = labels * weight + labels[numbers.partner] * (1 - weight)
        return {**batch, self.image: mixed, self.label: labels}

    def _mixed(self, xp: Any, image: Any, numbers: _Numbers) -> tuple[Any, Any]:
        raise NotImplementedError

    def _drawn(self, rows: int, draw: Any) -> tuple[Any, _Numbers]:
        """NumPy or JAX's NumPy, and what is drawn."""
        if isinstance(draw, np.random.Generator):
            share = draw.beta(self.alpha, self.alpha, rows).astype(np.float32)
            return np, _Numbers(share, draw.permutation(rows), draw.random((2, rows), np.float32))
        import jax  # delayed: workers have none

        keys = jax.random.split(draw, 3)
        share = jax.random.beta(keys[0], self.alpha, self.alpha, (rows,), np.float32)
        partner = jax.random.permutation(keys[1], rows)
        return jax.numpy, _Numbers(share, partner, jax.random.uniform(keys[2], (2, rows), np.float32))

    def _labels(self, xp: Any, labels: Any) -> Any:
        if self.classes is not None:
            return self._of_classes(xp, labels, self.classes)
        if _is_whole(labels.dtype):
            raise TypeError(
                f"{type(self).__name__}: field '{self.label}' holds {labels.dtype}, class numbers, of which none lies "
                "between two others: set classes="
            )
        return labels

    def _of_classes(self, xp: Any, labels: Any, classes: int) -> Any:
        """Class numbers as shares, float32 ``(rows, classes)``."""
        about = f"{type(self).__name__}: field '{self.label}': expected class numbers, as classes={classes} says"
        remedy = "Leave classes= out if these are shares already, or make them class numbers in a stage"
        if labels.ndim != 1:
            raise ValueError(f"{about}, of shape (rows,), found shape {labels.shape}. {remedy}")
        if not _is_whole(labels.dtype):
            raise TypeError(f"{about}, which are integers, found {labels.dtype}. {remedy}")
        shares = labels[:, None] == xp.arange(classes)
        known = shares.any(axis=1)
        if xp is np and not known.all():
            row = int(np.flatnonzero(~known)[0])
            raise ValueError(
                f"{about}, from 0 to {classes - 1}, found {labels[row]} in row {row} of a batch. Set classes= to how "
                "many there are, or correct the label in a stage"
            )
        return xp.where(known[:, None], shares.astype(np.float32), np.float32(np.nan))


def _is_whole(dtype: np.dtype) -> bool:
    """Whether a dtype holds integers or bools alone; to NumPy ``int4`` is no integer, and ``bfloat16`` no float."""
    return dtype.kind in "iub" or "int" in dtype.name


@dataclass(frozen=True, slots=True)
class MixUp(_Mix):
    """Blend each image of a batch with another one, and their labels: a function for a random stage of batches.

    ``RandomMapBatch(MixUp(...))`` does it in the workers, ``RandomDeviceStage(MixUp(...))`` on the device, where
    ``pad_last`` is an error, since padding would be mixed in. Integers are rounded and stay what they are.

    With ``classes``, a label that is none of them is an error in the workers. On the device, where nobody looks at
    values, the labels of its row, and of the one that is mixed with it, are NaN.

    Attributes:
        alpha: both parameters of the Beta distribution of shares, above 0: the smaller, the nearer to 0 or 1.
        classes: how many there are, if labels are class numbers, integers from 0 on; they become float32
            ``(rows, classes)``. None is for labels that are shares already.
        image: the field that holds images, or any other arrays, ``(rows, ...)``.
        label: the field that holds labels, ``(rows,)`` or ``(rows, classes)``.

    >>> batch = {"image": np.zeros((4, 8, 8, 3), np.uint8), "label": np.array([0, 1, 2, 1])}
    >>> mixed = MixUp(0.2, classes=3)(batch, np.random.default_rng(0))
    >>> mixed["image"].dtype, mixed["label"].shape, mixed["label"].sum(axis=1).round(3).tolist()
    (dtype('uint8'), (4, 3), [1.0, 1.0, 1.0, 1.0])
    """

    alpha: float = 0.2

    def _mixed(self, xp: Any, image: Any, numbers: _Numbers) -> tuple[Any, Any]:
        # Not so NumPy's bfloat16 and 8-bit floats, which do not count as numbers there, and would hold coarse shares.
        floats = image if xp.issubdtype(image.dtype, xp.inexact) else image.astype(np.float32)
        weight = numbers.share.reshape(-1, *[1] * (image.ndim - 1)).astype(floats.dtype)
        mixed = floats * weight + floats[numbers.partner] * (1 - weight)
        if floats is not image:
            mixed = (xp.rint(mixed) if _is_whole(image.dtype) else mixed).astype(image.dtype)
        return mixed, numbers.share


@dataclass(frozen=True, slots=True)
class CutMix(_Mix):
    """Put a box of another image of the batch into each one, and blend their labels by its area.

    It is used as ``MixUp`` is, and treats labels that are no class likewise.

    Attributes:
        alpha: both parameters of the Beta distribution of shares, above 0; with 1 every share is as likely.
        classes: how many there are, if labels are class numbers, integers from 0 on; they become float32
            ``(rows, classes)``. None is for labels that are shares already.
        image: the field that holds images, ``(rows, H, W, ...)``.
        label: the field that holds labels, ``(rows,)`` or ``(rows, classes)``.

    >>> batch = {"image": np.arange(2)[:, None, None] * np.ones((1, 8, 8)), "label": np.eye(2)}
    >>> mixed = CutMix()(batch, np.random.default_rng(1))
    >>> bool((mixed["image"].mean(axis=(1, 2)) == mixed["label"][:, 1]).all())
    True
    """

    alpha: float = 1.0

    def _mixed(self, xp: Any, image: Any, numbers: _Numbers) -> tuple[Any, Any]:
        if image.ndim < 3:
            raise ValueError(f"CutMix: images must be (rows, H, W, ...), got shape {image.shape}")
        half = xp.sqrt(1 - numbers.share) / 2
        inside = []
        for length, centre in zip(image.shape[1:3], numbers.centre, strict=True):
            place = xp.arange(length)
            low, high = (xp.rint((centre + side * half) * length)[:, None] for side in (-1, 1))
            inside.append((place >= low) & (place < high))
        box = inside[0][:, :, None] & inside[1][:, None, :]
        mixed = xp.where(box.reshape(*box.shape, *[1] * (image.ndim - 3)), image[numbers.partner], image)
        return mixed, 1 - box.mean((1, 2), np.float32)
