"""Which classes there are, and which labels they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datarax_mp import ImageFolderSource, Pipeline

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A folder with one image for each path; a path that ends in a slash is an empty folder."""

    def folder(*paths: str) -> Path:
        for path in paths:
            place = tmp_path / path
            if path.endswith("/"):
                place.mkdir(parents=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 4)).save(place)
        return tmp_path

    return folder


def labels(source: ImageFolderSource) -> list[int]:
    return [int(source[i]["label"]) for i in range(len(source))]


# --- classes=


def test_classes_fix_the_labels_whichever_folders_there_are(make: Make) -> None:
    root = make("dog/1.png", "cat/1.png", "cat/2.png", "bird/")
    source = ImageFolderSource(root, classes=["fox", "dog", "bird", "cat"])
    assert source.classes == ("fox", "dog", "bird", "cat")
    assert labels(source) == [1, 3, 3]
    assert repr(source).endswith("3 images of 4 classes)")
    with Pipeline(source=source, batch_size=3, num_workers=1, output="numpy") as pipeline:
        assert next(iter(pipeline))["label"].tolist() == [1, 3, 3]


def test_a_folder_that_is_no_class_is_an_error_even_if_it_is_empty(make: Make) -> None:
    root = make("dog/1.png", "cat/1.png", "wolf/")
    with pytest.raises(ValueError, match=r"folders of the 2 classes and no others, found 1 others: \['wolf'\]"):
        ImageFolderSource(root, classes=["cat", "dog"])


def test_classes_without_any_image_are_an_error(make: Make) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        ImageFolderSource(make("cat/", "dog/"), classes=["cat", "dog"])


def test_with_labels_classes_are_their_names(make: Make) -> None:
    root = make("1.png", "2.png")
    source = ImageFolderSource(root, labels=[1, 0], classes=["no", "yes"])
    assert source.classes == ("no", "yes") and labels(source) == [1, 0]
    listed = ImageFolderSource(root, ["2.png"], [1], classes=("no", "yes"))
    assert listed.classes == ("no", "yes") and labels(listed) == [1]
    for wrong in ([2, 0], [-1, 0]):
        with pytest.raises(ValueError, match="labels from 0 to 1, one for each class, found"):
            ImageFolderSource(root, labels=wrong, classes=["no", "yes"])


def test_classes_that_name_nothing_are_an_error(make: Make) -> None:
    root = make("1.png")
    for options in ({}, {"files": ["1.png"]}):
        with pytest.raises(ValueError, match=r"neither: pass labels="):
            ImageFolderSource(root, **options, classes=["a"])


@pytest.mark.parametrize(
    ("classes", "error"),
    [
        ("cat", TypeError),
        ([1, 2], TypeError),
        ([b"cat"], TypeError),
        ([], ValueError),
        (["cat", "cat"], ValueError),
        (["cat", ""], ValueError),
        (["cat/deep"], ValueError),
        ([".."], ValueError),
    ],
)
def test_classes_that_cannot_be_are_refused(make: Make, classes: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="classes must be"):
        ImageFolderSource(make("cat/1.png"), classes=classes)


# --- train and val


@pytest.mark.parametrize(
    "folders",
    [
        ["train", "val"],
        ["Train", "Test"],
        ["train", "valid", "annotations"],
        ["training", "validation"],
        ["train2017", "val2017"],
        ["test_images", "train_images"],
        ["train"],
        ["test", "val"],
    ],
)
def test_a_root_that_holds_the_parts_of_a_data_set_is_noticed(make: Make, folders: list[str]) -> None:
    root = make(*[f"{part}/{name}/1.png" for part in folders for name in ("cat", "dog")])
    with pytest.raises(
        ValueError, match=r"expected class folders, found the parts of a data set: \[.*Serve one"
    ) as error:
        ImageFolderSource(root)
    parts = sorted(part for part in folders if part != "annotations")
    assert repr(str(root / parts[0])) in str(error.value) and "classes=" in str(error.value)
    assert ImageFolderSource(root / parts[0]).classes == ("cat", "dog")
    assert ImageFolderSource(root, classes=folders).classes == tuple(folders)


@pytest.mark.parametrize("folders", [["bus", "train"], ["testbed", "trainer"], ["exam", "test"], ["valley", "valve"]])
def test_classes_that_sound_like_a_part_are_served(make: Make, folders: list[str]) -> None:
    source = ImageFolderSource(make(*[f"{name}/1.png" for name in folders]))
    assert source.classes == tuple(folders)
    assert np.array_equal(labels(source), [0, 1])
