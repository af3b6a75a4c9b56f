"""Finding image files, and keeping a million of their paths without a million Python objects.

Paths stay bytes, as the file system has them: names that are not UTF-8 survive, and the order is that of their bytes,
the same on every machine. Names that begin with a dot are passed over: the folders that tools leave behind
(``.ipynb_checkpoints`` would become a class) and the ``._photo.jpg`` of macOS, which is no image. What is no regular
file is passed over, too: to open a named pipe would wait for whoever writes into it. A link to one of the folders that
it lies in is not followed, for there would be no end.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger("datarax_mp")

SUFFIXES = tuple(
    b"." + name
    for name in (
        *(b"apng", b"avif", b"bmp", b"gif", b"jfif", b"jp2", b"jpe", b"jpeg", b"jpg", b"mpo", b"pbm", b"pgm", b"png"),
        *(b"pnm", b"ppm", b"tga", b"tif", b"tiff", b"webp"),
    )
)

# Images all the same, of formats that are not read: that they are left out is worth a warning.
_OTHER_IMAGES = re.compile(
    r"\.(arw|cr[23]|dcm|dds|dib|dng|eps|exr|hdr|hei[cf]|ico|j2[ck]|jpx|jxl|jxr|nef|orf|pcx|pfm|psd|raf|raw|rw2|svg|xbm)$"
)

_MOST_KINDS = 100  # that are counted each by itself; suffixes may be numbers

Group = tuple[bytes, list[bytes]]
"""A folder, relative to the root (b"" for the root itself), and the names of the files in it."""


@dataclass(frozen=True, eq=False)
class PackedPaths:
    """Paths, one after the other in one buffer.

    A list of strings that workers share by copy-on-write gets copied page by page as reference counts change (pytorch
    #13246), and pickles slowly. Two arrays do neither: they travel out-of-band and are mapped by all workers.

    Attributes:
        data: uint8, the bytes of all paths.
        offsets: int64 ``(paths + 1,)``, where each begins in ``data``, and the end.

    >>> paths = PackedPaths.of([(b"", [b"a.png"]), (b"deep", [b"b.png", b"c.png"])])
    >>> len(paths), paths[1]
    (3, b'deep/b.png')
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Iterable[Group]) -> PackedPaths:
        """Pack the files of some folders, in the order in which they are given."""
        pieces: list[bytes] = []
        lengths: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        for folder, names in groups:
            prefix = os.path.join(folder, b"") if folder else b""
            pieces.append(b"".join([prefix + name for name in names]))
            lengths.append(np.fromiter(map(len, names), np.int64, len(names)) + len(prefix))
        return cls(np.frombuffer(b"".join(pieces), np.uint8), np.cumsum(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def any_ends_with(self, suffix: bytes) -> bool:
        """Whether there is a path with this suffix, in lower case or not.

        >>> PackedPaths.of([(b"", [b"a.png", b"B.JP2"])]).any_ends_with(b".jp2")
        True
        """
        ends = self.offsets[1:][np.diff(self.offsets) >= len(suffix)]
        for place, letter in enumerate(suffix):
            ends = ends[self.data[ends - len(suffix) + place] | 0x20 == letter]  # the bit that makes a letter small
        return len(ends) > 0


@dataclass
class Listing:
    """Searches a root for image files, and counts the files that it passes over.

    Attributes:
        root: the folder that all paths are relative to.
        passed_over: how many files, by what they are: a suffix, or words.
        loops: the links to a folder that they lie in, relative to the root.
    """

    root: bytes
    passed_over: Counter[str] = field(default_factory=Counter)
    loops: list[bytes] = field(default_factory=list)

    def folder(self, name: bytes = b"") -> tuple[list[bytes], list[bytes]]:
        """One folder's subfolders and image files, by suffix, both sorted by name. Links are followed."""
        folders, names = [], []
        within = _identities(self.root, name)
        with os.scandir(os.path.join(self.root, name)) as entries:
            for entry in entries:
                kind = self._kind(entry, within)
                if kind == "folder":
                    folders.append(entry.name)
                elif kind == "image":
                    names.append(entry.name)
                elif kind == "loop":
                    self.loops.append(os.path.join(name, entry.name))
                elif kind:
                    known = kind in self.passed_over or len(self.passed_over) < _MOST_KINDS
                    self.passed_over[kind if known else "of other kinds"] += 1
        return sorted(folders), sorted(names)

    def tree(self, folder: bytes) -> list[Group]:
        """The image files of a folder and of those in it, sorted by folder and then by name (torchvision's order)."""
        groups: list[Group] = []
        pending = [folder]
        while pending:
            current = pending.pop()
            folders, names = self.folder(current)
            groups.append((current, names))
            pending += [os.path.join(current, name) for name in folders]
        return sorted(groups)

    def _kind(self, entry: os.DirEntry[bytes], within: frozenset[tuple[int, int]]) -> str:
        """What an entry is: "image", "folder" or "loop"; "" a folder, all else files, that are passed over."""
        mode = _mode(entry)
        if stat.S_ISDIR(mode):
            if entry.name.startswith(b"."):
                return ""
            if entry.is_symlink():
                status = entry.stat()
                if (status.st_dev, status.st_ino) in within:
                    return "loop"
            return "folder"
        if entry.name.startswith(b"."):
            return "with a dot in front"
        if mode and not stat.S_ISREG(mode):
            return "that are no regular files"
        if entry.name.lower().endswith(SUFFIXES):
            return "image"  # also a link to nothing: that an image is missing shows when it is read
        suffix = os.path.splitext(entry.name)[1].lower()
        return suffix.decode("utf-8", "backslashreplace") or "without a suffix"

    def report(self) -> None:
        """Tell the log what was passed over: a warning if it may have been meant to be served."""
        if self.loops:
            names = ", ".join(map(repr, map(os.fsdecode, self.loops[:5])))
            log.warning("%s: links to a folder that they lie in are not followed: %s", os.fsdecode(self.root), names)
        if not self.passed_over:
            return
        counts = ", ".join(f"{count} {kind}" for kind, count in self.passed_over.most_common(8))
        more = len(self.passed_over) - 8
        images = any(_OTHER_IMAGES.match(kind) for kind in self.passed_over)
        log.log(
            logging.WARNING if images else logging.INFO,
            "%s: %s passed over: %s%s%s",
            os.fsdecode(self.root),
            counted_files(self.passed_over.total()),
            counts,
            f", and {more} other kinds" if more > 0 else "",
            ". Some are images in formats that are not read: convert them, or decode them in a stage" if images else "",
        )


def counted_files(count: int) -> str:
    """How many files, in words.

    >>> counted_files(1), counted_files(2)
    ('1 file', '2 files')
    """
    return f"{count} file" if count == 1 else f"{count} files"


def _mode(entry: os.DirEntry[bytes]) -> int:
    """What an entry is, links followed; 0 for a link to nothing or to itself. A system call for what is odd only."""
    try:
        if entry.is_dir():
            return stat.S_IFDIR
        if entry.is_file():
            return stat.S_IFREG
        return entry.stat().st_mode
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return 0


def _identities(root: bytes, folder: bytes) -> frozenset[tuple[int, int]]:
    """Device and inode of a folder and of those that it lies in, up to the root, as the path names them."""
    return frozenset((status.st_dev, status.st_ino) for path in _upwards(root, folder) for status in (os.stat(path),))


def _upwards(root: bytes, folder: bytes) -> Iterator[bytes]:
    while folder:
        yield os.path.join(root, folder)
        folder = os.path.dirname(folder)
    yield root
