"""ImageFolderSource: image files, decoded by whoever reads them, which is the worker."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from datarax_mp.sources.decode import Mode, decode_image, require_decoders
from datarax_mp.sources.listing import SUFFIXES, Group, PackedPaths, list_folder, list_tree

AnyPath = str | bytes | os.PathLike


class ImageFolderSource:
    """Images from a folder of class folders, a flat folder, or a list of files.

    A folder that holds folders is a data set with classes (torchvision's ``ImageFolder``): the first-level folders'
    names, sorted, are the classes, and every image anywhere below is one of its class. A folder that holds only images
    is served in the order of the names. Both orders are the same everywhere. Names that begin with a dot are passed
    over.

    A record is ``{"image": uint8 (height, width, 3), "label": np.int64, "path": str}``; without labels it has no
    ``label``. Photographs differ in size and a batch is one array, so a stage must crop or resize ``image`` to one
    shape. The path is no array: it ends up in ``Metadata.source_info``.

    What a file is, its content says, not its name: JPEG, PNG, GIF or WebP (the first frame), BMP, TIFF, PPM or PGM.
    Grey becomes three equal channels, CMYK becomes RGB without a colour profile (inks are taken as Adobe's programs
    store them, inverted, as browsers and Pillow do), an alpha channel is dropped and not composited (as torchvision
    does), of 16 bits the upper 8 stay, and an EXIF orientation is applied.

    A file that is truncated is an error. So is other damage, as far as the decoder sees it; but JPEG has no checksum,
    and damage that happens to decode is not noticed.

    Only the paths are in memory, packed into two arrays that all workers share: 30 to 50 bytes an image.

    Args:
        root: the folder. Needs ``pip install "datarax-mp[images]"``.
        files: the images to serve, in this order, relative to ``root`` or absolute; nothing is searched for then, and
            whether a file exists shows when it is read.
        labels: integers, one for each of ``files``, or for each image of a flat folder in the order of the names.
        mode: "RGB", or "L" for one channel of grey, ``(height, width, 1)``.
        min_size: decode JPEGs at the smallest of 1/8, 2/8, 3/8, 4/8 and the whole of their size whose shorter side is
            still at least this long (sides are rounded up). Cheaper, and the resize that follows has less to do. A file
            gives the same pixels every time, though not those of the whole image resized. Other formats, and the few
            JPEGs that simplejpeg does not take, are decoded whole.

    Attributes:
        classes: the classes' names, by label; empty unless the labels come from folders.

    Raises:
        ImportError: the decoders are not installed.
        FileNotFoundError, NotADirectoryError: ``root`` is no folder.
        ValueError: there is no image, a class has none, images lie beside class folders, labels and images differ in
            number, or an argument is out of range.
        TypeError: ``files`` is one path, or ``labels`` are no integers.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (root / name).mkdir()
    ...     Image.new("RGB", (6, 4), "red").save(root / name / "1.png")
    >>> source = ImageFolderSource(root)
    >>> len(source), source.classes
    (2, ('cat', 'dog'))
    >>> record = source[1]
    >>> record["image"].shape, int(record["label"]), record["path"] == str(root / "dog" / "1.png")
    ((4, 6, 3), 1, True)
    """

    def __init__(
        self,
        root: AnyPath,
        files: Sequence[AnyPath] | None = None,
        labels: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        mode: Mode = "RGB",
        min_size: int | None = None,
    ) -> None:
        require_decoders()
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {get_args(Mode)}, got {mode!r}")
        if min_size is not None and min_size < 1:
            raise ValueError(f"min_size, the least length of the shorter side, must be at least 1, got {min_size}")
        self.root = _checked_root(root)
        self.mode = mode
        self.min_size = min_size
        self.classes: tuple[str, ...] = ()
        self._labels: NDArray[np.int64] | None = None
        if files is not None:
            if isinstance(files, (str, bytes, os.PathLike)):
                raise TypeError(f"files must be a sequence of paths, not one {type(files).__name__}")
            self._paths = PackedPaths.of([(b"", [os.fsencode(file) for file in files])])
        else:
            self._search(has_labels=labels is not None)
        if len(self._paths) == 0:
            found = "an empty list of files" if files is not None else f"no file in {self.root} with a known suffix"
            raise ValueError(f"expected at least one image, found {found} ({_suffixes()})")
        if labels is not None:
            self._labels = _checked_labels(labels, len(self._paths))

    def _search(self, *, has_labels: bool) -> None:
        """Fill in paths, and labels and classes if there are class folders."""
        root = os.fsencode(self.root)
        folders, names = list_folder(root)
        if not folders:
            self._paths = PackedPaths.of([(b"", names)])
            return
        if names or has_labels:
            found = (
                f"images beside them ({os.fsdecode(names[0])!r})" if names else "labels given as an argument as well"
            )
            raise ValueError(
                f"{self.root}: expected class folders ({os.fsdecode(folders[0])!r}) and nothing else, found {found}. "
                "Move the folders or the images elsewhere, or pass files=[...], and labels=[...] if there are any"
            )
        counts = np.zeros(len(folders), np.int64)

        def groups() -> Iterator[Group]:
            for label, folder in enumerate(folders):
                for group in list_tree(root, folder):
                    counts[label] += len(group[1])
                    yield group

        self._paths = PackedPaths.of(groups())  # one class's names at a time
        self._labels = np.repeat(np.arange(len(folders), dtype=np.int64), counts)
        self.classes = tuple(map(os.fsdecode, folders))
        empty = [name for name, count in zip(self.classes, counts, strict=True) if count == 0]
        if empty and counts.any():
            raise ValueError(
                f"{self.root}: expected images in every class folder, found none in {len(empty)}: {empty[:5]} "
                f"({_suffixes()}). An empty class shifts the labels of those after it: remove the folder"
            )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._paths)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Read and decode one image; negative numbers count from the end.

        Raises:
            IndexError: there is no such image.
            OSError: the file cannot be read: it has gone, or access is denied.
            ImageError: the file is no image, or a damaged one.
        """
        number = operator.index(number)
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} is outside of the source's {len(self)} images")
        number %= len(self)
        path = os.path.join(self.root, os.fsdecode(self._paths[number]))
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        record: dict[str, Any] = {"image": decode_image(data, path, mode=self.mode, min_size=self.min_size)}
        if self._labels is not None:
            record["label"] = self._labels[number]
        record["path"] = path
        return record

    def __repr__(self) -> str:
        classes = f" of {len(self.classes)} classes" if self.classes else ""
        return f"ImageFolderSource({self.root!r}, {len(self)} images{classes})"


def _checked_root(root: AnyPath) -> str:
    path = os.path.abspath(os.fsdecode(root))  # a worker may have another working directory
    if not os.path.exists(path):
        raise FileNotFoundError(f"expected a folder of images at {path}, found nothing there")
    if not os.path.isdir(path):
        raise NotADirectoryError(
            f"expected a folder of images at {path}, found a file. Single files go into files=[...]"
        )
    return path


def _checked_labels(labels: Any, images: int) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) != images:
        raise ValueError(f"expected one label for each of the {images} images, found labels of shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"labels must be integers, found dtype {array.dtype}. Number the classes, or add other targets in a stage"
        )
    return np.ascontiguousarray(array, np.int64)


def _suffixes() -> str:
    return "known are " + " ".join(map(os.fsdecode, SUFFIXES))
