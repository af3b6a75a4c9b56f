"""Finding image files, and keeping a million of their paths without a million Python objects.

Paths stay bytes, as the file system has them: names that are not UTF-8 survive, and the order is that of their bytes,
the same on every machine. Names that begin with a dot are passed over: the folders that tools leave behind
(``.ipynb_checkpoints`` would become a class) and the ``._photo.jpg`` of macOS, which is no image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (b".bmp", b".gif", b".jpeg", b".jpg", b".pgm", b".png", b".ppm", b".tif", b".tiff", b".webp")

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


def list_folder(root: bytes, folder: bytes = b"") -> tuple[list[bytes], list[bytes]]:
    """One folder's subfolders and image files, by suffix, both sorted by name. Links are followed."""
    folders, names = [], []
    with os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(SUFFIXES):
                names.append(entry.name)
    return sorted(folders), sorted(names)


def list_tree(root: bytes, folder: bytes) -> list[Group]:
    """The image files of a folder and of those in it, sorted by folder and then by name (torchvision's order)."""
    groups: list[Group] = []
    pending = [folder]
    while pending:
        current = pending.pop()
        folders, names = list_folder(root, current)
        groups.append((current, names))
        pending += [os.path.join(current, name) for name in folders]
    return sorted(groups)
