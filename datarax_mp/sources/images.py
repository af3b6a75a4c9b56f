"""ImageFolderSource: image files, decoded by whoever reads them, which is the worker."""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.sources.classes import check_class_folders, checked_classes, checked_labels
from datarax_mp.sources.decode import (
    MAX_PIXELS,
    ImageError,
    Mode,
    check_options,
    decode_image,
    require_decoders,
    require_format,
)
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.listing import SUFFIXES, Group, Listing, PackedPaths, counted_files

AnyPath = str | bytes | os.PathLike


class ImageFolderSource(SaysFacts):
    """Images from a folder of class folders, a flat folder, or a list of files.

    A folder that holds folders is a data set with classes (torchvision's ``ImageFolder``): the first-level folders'
    names, sorted, are the classes, and every image anywhere below is one of its class. A folder that holds only images
    is served in the order of the names. Both orders are the same everywhere. Links are followed, unless they lead to
    a folder that they lie in.

    Which files are images, their suffix says (.jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .avif .bmp .tif .tiff
    .jp2 .tga .ppm .pgm .pbm .pnm, in any case). All others are passed over, as are names that begin with a dot and
    what is no regular file, such as a named pipe. How many there were is in the ``repr`` and in the log
    ("datarax_mp"), as a warning if there are images among them whose format is not read.

    A record is ``{"image": uint8 (height, width, 3), "label": np.int64, "path": str}``; without labels it has no
    ``label``. Photographs differ in size and a batch is one array, so a stage must crop or resize ``image`` to one
    shape. The path is no array: it ends up in ``Metadata.source_info``.

    What a file is, its content says, not its name: JPEG, PNG, GIF, WebP or AVIF (the first frame), BMP, TIFF,
    JPEG 2000, TGA, PPM, PGM or PBM. Grey becomes three equal channels, CMYK becomes RGB without a colour profile (inks
    are taken as Adobe's programs store them, inverted, as browsers and Pillow do), an alpha channel is dropped and not
    composited (as torchvision does) unless ``mode`` asks for it, of 16 bits the upper 8 stay, and an orientation in
    EXIF or XMP data is applied.

    A file that is truncated is an error. So is other damage, as far as the decoder sees it; but JPEG has no checksum,
    and damage that happens to decode is not noticed. What does not bear on the pixels is no damage: stray bytes
    before a JPEG's markers, an odd colour profile, a missing end marker behind all pixels.

    Only the paths are in memory, packed into two arrays that all workers share: 30 to 50 bytes an image.

    Args:
        root: the folder; ``~`` is the home folder. Needs ``pip install "datarax-mp[images]"``.
        files: the images to serve, in this order, relative to ``root``, absolute, or from the home folder (``~/``);
            nothing is searched for then, and whether a file exists shows when it is read.
        labels: integers, one for each of ``files``, or for each image of a flat folder in the order of the names.
        classes: the names of the classes, in the order of their labels, so that labels do not depend on which folders
            there are. A class may lack images, or its folder. With ``labels`` they are only names, and labels must
            lie within them.
        mode: "RGB"; "RGBA", opaque where a file has no alpha; "L" for one channel of grey, ``(height, width, 1)``; or
            "I;16" for grey values as they are stored, uint16 ``(height, width, 1)``, as depth maps and medical images
            have them: those of 8 bits come as 0 to 255, and colours are an error.
        min_size: decode JPEGs at the smallest of 1/8, 2/8, 3/8, 4/8 and the whole of their size whose shorter side is
            still at least this long (sides are rounded up). Cheaper, and the resize that follows has less to do. A file
            gives the same pixels every time, though not those of the whole image resized. Other formats, and the few
            JPEGs that simplejpeg does not take, are decoded whole.
        pixel_limit: an image with more pixels is an error, raised by its header: a small file may claim a size that
            fills the memory ("decompression bomb"). None for no limit.

    Attributes:
        classes: the classes' names, by label; empty unless the labels come from folders, or names were given.
        passed_over: how many files of the folder are not served.

    Raises:
        ImportError: the decoders are not installed, or this Pillow was built without AVIF or JPEG 2000 and the
            source has such files.
        FileNotFoundError, NotADirectoryError: ``root`` is no folder.
        ValueError: there is no image, a class has none, a folder is none of ``classes``, the folders are the parts of
            a data set (``train`` and ``val``) instead of classes, images lie beside class folders, labels and images
            differ in number, or an argument is out of range.
        TypeError: ``files`` is one path, ``classes`` one name, or ``labels`` are no integers.

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
        classes: Sequence[str] | None = None,
        mode: Mode = "RGB",
        min_size: int | None = None,
        pixel_limit: int | None = MAX_PIXELS,
    ) -> None:
        require_decoders()
        check_options(mode, min_size, pixel_limit)
        self.root = _checked_root(root)
        self.mode = mode
        self.min_size = min_size
        self.pixel_limit = pixel_limit
        self.classes = checked_classes(classes)
        self.passed_over = 0
        self._labels: NDArray[np.int64] | None = None
        if files is not None:
            if isinstance(files, (str, bytes, os.PathLike)):
                raise TypeError(f"files must be a sequence of paths, not one {type(files).__name__}")
            self._paths = PackedPaths.of([(b"", [_at_home(os.fsencode(file)) for file in files])])
        else:
            self._search(has_labels=labels is not None, has_classes=classes is not None)
        if len(self._paths) == 0:
            found = "an empty list of files" if files is not None else f"no file in {self.root} with a known suffix"
            passed_over = f", and {self.passed_over} others" if self.passed_over else ""
            raise ValueError(f"expected at least one image, found {found}{passed_over} ({_suffixes()})")
        for suffix, kind in ((b".avif", "AVIF"), (b".jp2", "JPEG2000")):
            if self._paths.any_ends_with(suffix):
                require_format(kind)
        if labels is not None:
            self._labels = checked_labels(labels, len(self._paths), self.classes)
        elif self._labels is None and classes is not None:
            raise ValueError(
                "classes=[...] names the class folders, or the labels, but there are neither: pass labels=[...]"
            )

    def _search(self, *, has_labels: bool, has_classes: bool) -> None:
        """Fill in paths, and labels and classes if there are class folders."""
        root = os.fsencode(self.root)
        listing = Listing(root)
        folders, names = listing.folder()
        if folders:
            if names or has_labels:
                beside = f"images beside them ({os.fsdecode(names[0])!r})" if names else "labels given as an argument"
                raise ValueError(
                    f"{self.root}: expected class folders ({os.fsdecode(folders[0])!r}) and nothing else, found "
                    f"{beside}. Move the folders or the images elsewhere, or pass files=[...], and labels=[...] if "
                    "there are any"
                )
            check_class_folders(self.root, list(map(os.fsdecode, folders)), self.classes if has_classes else None)
            self._search_classes(listing, folders, has_classes=has_classes)
        else:
            self._paths = PackedPaths.of([(b"", names)])
        listing.report()
        self.passed_over = listing.passed_over.total()

    def _search_classes(self, listing: Listing, folders: list[bytes], *, has_classes: bool) -> None:
        if not has_classes:
            self.classes = tuple(map(os.fsdecode, folders))
        present = set(folders)
        counts = np.zeros(len(self.classes), np.int64)

        def groups() -> Iterator[Group]:
            for label, folder in enumerate(map(os.fsencode, self.classes)):
                for group in listing.tree(folder) if folder in present else ():
                    counts[label] += len(group[1])
                    yield group

        self._paths = PackedPaths.of(groups())  # one class's names at a time
        self._labels = np.repeat(np.arange(len(self.classes), dtype=np.int64), counts)
        empty = [name for name, count in zip(self.classes, counts, strict=True) if count == 0]
        if empty and counts.any() and not has_classes:
            raise ValueError(
                f"{self.root}: expected images in every class folder, found none in {len(empty)}: {empty[:5]} "
                f"({_suffixes()}). An empty class shifts the labels of those after it: remove the folder, or fix the "
                "labels with classes=[...]"
            )

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        return SourceFacts(type(self).__name__, user_code=False)

    def data_files(self) -> Iterator[str]:
        """See ``SaysFacts``."""
        return (os.path.join(self.root, os.fsdecode(self._paths[number])) for number in range(len(self)))

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._paths)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Read and decode one image; negative numbers count from the end.

        Raises:
            IndexError: there is no such image.
            OSError: the file cannot be read: it has gone, or access is denied.
            ImageError: the file is no image, or a damaged one, or has too many pixels; or it is no regular file.
        """
        number = operator.index(number)
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} is outside of the source's {len(self)} images")
        number %= len(self)
        path = os.path.join(self.root, os.fsdecode(self._paths[number]))
        image = decode_image(_read(path), path, mode=self.mode, min_size=self.min_size, pixel_limit=self.pixel_limit)
        record: dict[str, Any] = {"image": image}
        if self._labels is not None:
            record["label"] = self._labels[number]
        record["path"] = path
        return record

    def __repr__(self) -> str:
        classes = f" of {len(self.classes)} classes" if self.classes else ""
        passed_over = f", {counted_files(self.passed_over)} passed over" if self.passed_over else ""
        return f"ImageFolderSource({self.root!r}, {len(self)} images{classes}{passed_over})"


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ImageError(path, "expected a regular file, found a named pipe or a device")
        return file.read()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or a named pipe would wait for its other end, for ever


def _at_home(path: bytes) -> bytes:
    return os.path.expanduser(path) if path.startswith(b"~/") else path


def _checked_root(root: AnyPath) -> str:
    path = os.path.abspath(os.path.expanduser(os.fsdecode(root)))  # a worker may have another working directory
    if not os.path.exists(path):
        raise FileNotFoundError(f"expected a folder of images at {path}, found nothing there")
    if not os.path.isdir(path):
        raise NotADirectoryError(
            f"expected a folder of images at {path}, found a file. Single files go into files=[...]"
        )
    return path


def _suffixes() -> str:
    return "known are " + " ".join(map(os.fsdecode, SUFFIXES))
