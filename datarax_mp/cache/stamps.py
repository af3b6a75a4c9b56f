"""Whether a file or a folder is what it was, by what the system says of it: sizes and times of change."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from xxhash import xxh3_128

from datarax_mp.cache.errors import FingerprintError
from datarax_mp.cache.folder import is_kept
from datarax_mp.core.strays import is_from_handler

MOST_FILES = 100_000
"""In a folder: they are looked at whenever an epoch begins, which takes some 0.8 s."""

_SKIPPED = b"__pycache__"


def stamp(path: bytes) -> bytes:
    """Size and time of change of a file, or of all in a folder; nothing where there is none: reading it will say so.

    Hidden folders in it, ``__pycache__``, and what a ``Cache`` keeps there do not count: they change by being used.

    Raises:
        FingerprintError: there are more than ``MOST_FILES`` in a folder.
    """
    status = _status(path)
    if status is None:
        return b""
    if stat.S_ISDIR(status.st_mode):
        return _of_folder(path, status)
    return _said(status) if stat.S_ISREG(status.st_mode) else b""


def stamps(paths: Iterable[bytes]) -> bytes:
    """A hash of several, with their names."""
    hashed = xxh3_128()
    for path in paths:
        hashed.update(path + b"\0" + stamp(path) + b"\0")
    return hashed.digest()


def _said(status: os.stat_result) -> bytes:
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        if is_from_handler():
            raise
        return None


def _of_folder(folder: bytes, status: os.stat_result) -> bytes:
    hashed = xxh3_128()
    for count, (path, found) in enumerate(_files(folder, {(status.st_dev, status.st_ino)})):
        if count == MOST_FILES:
            raise FingerprintError(
                f"Cache: whether {os.fsdecode(folder)} is what it was takes too long to find out: it is a folder of "
                f"more than {MOST_FILES:,} files. Let data_files() of the source say which ones are read, and keep the "
                "folder's name as text; or put the data into fewer and larger files (Zarr: into shards, or a zip file)"
            )
        hashed.update(path[len(folder) :] + b"\0" + (b"" if found is None else _said(found)) + b"\0")
    return hashed.digest()


def _files(folder: bytes, known: set[tuple[int, int]]) -> Iterator[tuple[bytes, os.stat_result | None]]:
    """All files in a folder and in those within it, in one order. Links are followed, and no folder is seen twice."""
    for name in _names(folder):
        path = os.path.join(folder, name)
        status = _status(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            yield path, status
            continue
        identity = (status.st_dev, status.st_ino)
        if name.startswith(b".") or name == _SKIPPED or identity in known or is_kept(path):
            continue
        known.add(identity)
        yield from _files(path, known)


def _names(folder: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        if is_from_handler():
            raise
        return []
