"""Memory that is a mapped file: which file, and where in it.

    address --> /proc/self/maps --> the file's name, where it has one --> reopened by name, if it is the same inode
                                --> deleted, or replaced by another   --> a descriptor of ours that is open on it

What the objects say of themselves would not do: a ``np.memmap`` keeps the name that it was opened under, which may
belong to another file by now, and its views, tensors and Arrow buffers over mapped files know no name at all.

A mapping that is private ("c", copy on write) and has been written to is no longer the file; it is not found here. Nor
is memory of this package, which belongs to the ring or to a program and is lent for a while only.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import sys
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from datarax_mp.core.refusals import is_refusal, unless_refused
from datarax_mp.ring.segment import Segment

Mode = Literal["r", "r+", "c"]  # as np.memmap says it: read, read and write, copy on write

_DELETED = " (deleted)"
_OURS = ("/dev/shm/datarax_mp", "/dev/shm/#", "/memfd:datarax_mp")  # the second are files that have no name
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ (\d+) +(/.*)")
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # named from Python 3.13 on


@dataclass(frozen=True)
class MappedFile:
    """A file, to be mapped by another process as it is mapped in this one.

    Attributes:
        path: its name.
        identity: device and inode, so that another file under the same name is noticed.
        size: the bytes that it must have.
        mode: how it is mapped.
        segment: a descriptor that is open on it, where the name is none of its own any more; else None.
    """

    path: str
    identity: tuple[int, int]
    size: int
    mode: Mode
    segment: Segment | None = None

    def open(self, offset: int = 0, size: int = 0) -> mmap.mmap:
        """Map it, or a part of it.

        Args:
            offset: where the mapping begins; a multiple of the page size.
            size: its bytes; 0 goes to the file's end.

        Raises:
            FileNotFoundError: the file has gone since it was found.
            OSError: another file has its name by now, or it has been shortened.
        """
        if self.segment is not None:
            return self._map(self.segment.fd, offset, size)
        descriptor = os.open(self.path, os.O_CLOEXEC | (os.O_RDWR if self.mode == "r+" else os.O_RDONLY))
        try:
            return self._map(descriptor, offset, size)
        finally:
            os.close(descriptor)

    def _map(self, descriptor: int, offset: int, size: int) -> mmap.mmap:
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) != self.identity:
            raise OSError(
                f"the memory-mapped file {self.path} was replaced by another one of the same name after the pipeline "
                "had begun; map the new file, and make a new source and pipeline"
            )
        if found.st_size < self.size:
            raise OSError(
                f"the memory-mapped file {self.path} was shortened: expected at least {self.size} bytes, found "
                f"{found.st_size}"
            )
        if self.mode == "c":  # without memory set aside for what nobody may ever write
            flags, protection = mmap.MAP_PRIVATE | _MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(descriptor, size, flags, protection, offset=offset)
        access = mmap.ACCESS_READ if self.mode == "r" else mmap.ACCESS_WRITE
        return mmap.mmap(descriptor, size, access=access, offset=offset)


class Place(NamedTuple):
    """Where in a file some memory lies: from byte ``offset`` on."""

    file: MappedFile
    offset: int


class _Mapping(NamedTuple):
    start: int
    end: int
    permissions: str
    offset: int
    inode: int
    path: str


class Mappings:
    """The files that this process has mapped, at one moment. Elsewhere than on Linux there are none.

    >>> Mappings().place(0, 1) is None
    True
    """

    def __init__(self) -> None:
        self._mappings = _read_mappings()
        self._starts = [mapping.start for mapping in self._mappings]
        self._files: dict[tuple[str, int, Mode], MappedFile | None] = {}

    def place(self, address: int, size: int) -> Place | None:
        """Where ``size`` bytes at an address lie in a file, or None if another process cannot map such a file."""
        found = bisect_right(self._starts, address) - 1
        if found < 0:
            return None
        mapping = self._mappings[found]
        if address + size > mapping.end:
            return None
        mode: Mode = "r" if "w" not in mapping.permissions else "r+" if mapping.permissions[3] == "s" else "c"
        if mode == "c" and _written_to(mapping):
            return None
        key = (mapping.path, mapping.inode, mode)
        if key not in self._files:
            self._files[key] = _file(mapping, mode)
        file = self._files[key]
        offset = mapping.offset + address - mapping.start
        # Beyond its end, a file's last page is memory without a file.
        return None if file is None or offset + size > file.size else Place(file, offset)


def is_mapped(array: np.ndarray) -> bool:
    """Whether an array may look into a mapped file, for all that is known without asking the system.

    >>> is_mapped(np.zeros(3)[1:])
    False
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base is not None


def _read_mappings() -> list[_Mapping]:
    try:
        with open("/proc/self/maps", errors="surrogateescape") as lines:
            found = [match.groups() for line in lines if (match := _LINE.match(line))]
    except (FileNotFoundError, PermissionError):
        return []
    return [
        _Mapping(int(start, 16), int(end, 16), permissions, int(offset, 16), int(inode), path.replace("\\012", "\n"))
        for start, end, permissions, offset, inode, path in found
        if not path.startswith(_OURS)
    ]


def _file(mapping: _Mapping, mode: Mode) -> MappedFile | None:
    path = mapping.path
    if path.endswith(_DELETED) and not os.path.exists(path):
        return _by_descriptor(mapping, mode)
    found = unless_refused(lambda: os.stat(path), None)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    return MappedFile(path, (found.st_dev, found.st_ino), found.st_size, mode)


def _by_descriptor(mapping: _Mapping, mode: Mode) -> MappedFile | None:
    """Find a descriptor of this process for a file without a name; ``mmap.mmap`` keeps one for each mapping."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") != mapping.path:
                continue
            found = os.fstat(int(name))
            if found.st_ino != mapping.inode or not stat.S_ISREG(found.st_mode):
                continue
            segment = Segment(os.dup(int(name)), found.st_size)
        except OSError as error:  # closed meanwhile
            if not is_refusal(error):
                raise
            continue
        path = mapping.path.removesuffix(_DELETED)
        return MappedFile(path, (found.st_dev, found.st_ino), found.st_size, mode, segment)
    return None


def _written_to(mapping: _Mapping) -> bool:
    """Whether pages of a private mapping are this process's own."""
    head = f"{mapping.start:x}-{mapping.end:x} ".encode()
    with open("/proc/self/smaps", "rb") as lines:
        for line in lines:
            if line.startswith(head):
                break
        for line in lines:
            if line.startswith((b"Anonymous:", b"Swap:")) and line.split()[1] != b"0":
                return True
            if line.startswith(b"VmFlags:"):
                return False
    return True
