"""What the classes of a folder of images may be called, and which folders may stand for them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The parts that data sets come in. One folder for each is no folder for each class.
_SPLIT = re.compile(
    r"(train|training|val|valid|validation|test|testing|dev|eval|evaluation|holdout)([-_ ]?(set|data|images|\d+))?",
    re.IGNORECASE,
)


def checked_classes(classes: Any) -> tuple[str, ...]:
    """The names of the classes; none if None is given.

    Raises:
        TypeError: they are no sequence of strings.
        ValueError: there is none, one is there twice, or one cannot be the name of a folder.
    """
    if classes is None:
        return ()
    names = () if isinstance(classes, (str, bytes)) else tuple(classes)
    if isinstance(classes, (str, bytes)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"classes must be a sequence of names, got {classes!r}")
    if not names or len(set(names)) < len(names) or any(name in ("", ".", "..") or "/" in name for name in names):
        raise ValueError(f"classes must be names of folders, at least one and each only once, got {classes!r}")
    return names


def check_class_folders(root: str, folders: Sequence[str], classes: tuple[str, ...] | None) -> None:
    """Make sure that folders stand for classes.

    Args:
        root: where they lie, for messages.
        folders: their names.
        classes: what they should be called, None if they are the classes whatever they are called.

    Raises:
        ValueError: one is no class, or they are the parts of a data set.
    """
    if classes is not None:
        if foreign := [name for name in folders if name not in set(classes)]:
            raise ValueError(
                f"{root}: expected folders of the {len(classes)} classes and no others, found {len(foreign)} others: "
                f"{foreign[:5]}. Name them in classes=[...], or move them elsewhere"
            )
        return
    splits = [name for name in folders if _SPLIT.fullmatch(name)]
    # "train" alone may be a class of vehicles among others; together with "val" or "test" it is none.
    if splits and (len(splits) == len(folders) or len({name[:2].lower() for name in splits}) > 1):
        raise ValueError(
            f"{root}: expected class folders, found the parts of a data set: {splits}. Serve one of them: "
            f"ImageFolderSource({os.path.join(root, splits[0])!r}), with classes=[...] so that all parts number their "
            f"classes alike. If these are the classes, say so: classes={list(folders[:5])}"
        )


def checked_labels(labels: Any, images: int, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels as int64, one for each image.

    Raises:
        ValueError: they are too many or too few, or there is a label beyond the classes.
        TypeError: they are no integers.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) != images:
        raise ValueError(f"expected one label for each of the {images} images, found labels of shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"labels must be integers, found dtype {array.dtype}. Number the classes, or add other targets in a stage"
        )
    if classes and (array.min() < 0 or array.max() >= len(classes)):
        raise ValueError(
            f"expected labels from 0 to {len(classes) - 1}, one for each class, found {array.min()} to {array.max()}"
        )
    return np.ascontiguousarray(array, np.int64)
