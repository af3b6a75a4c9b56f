"""Which files a source of files has."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import TypeAlias

AnyPath: TypeAlias = str | os.PathLike[str]
_PATTERN = frozenset("*?[")


def find_files(paths: AnyPath | Iterable[AnyPath], suffix: str) -> list[str]:
    """Files by name, pattern or folder, as absolute paths: a worker may have another working directory.

    Args:
        paths: a file, a pattern (``train-*.parquet``, ``**`` for any folders), a folder, whose files with the suffix
            are meant, or several of these. Files of a pattern and of a folder come in the order of their names.
        suffix: the format's, with its dot.

    Raises:
        FileNotFoundError: there is no such file, or none that a pattern or a folder means.
        TypeError: it is no path.
        ValueError: there is no path at all.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise ValueError("expected paths, found an empty list of them")
    return [file for path in several for file in _files_of(path, suffix)]


def _files_of(path: AnyPath, suffix: str) -> list[str]:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"expected the path of a file, found {path!r} of type {type(path).__name__}")
    name = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if os.path.isfile(name):
        return [name]
    if os.path.isdir(name):
        found = sorted(glob.glob(f"{glob.escape(name)}/**/*{suffix}", recursive=True))
        if not found:
            raise FileNotFoundError(f"{name}: expected files that end in {suffix} in this folder, found none")
        return found
    if not _PATTERN.isdisjoint(name):
        found = sorted(file for file in glob.glob(name, recursive=True) if os.path.isfile(file))
        if not found:
            raise FileNotFoundError(f"{name}: expected files that match this pattern, found none")
        return found
    raise FileNotFoundError(f"{name}: expected a file or a folder, found nothing there")
