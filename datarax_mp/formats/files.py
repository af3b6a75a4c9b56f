"""Which files a source of files has."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from typing import TypeAlias

from datarax_mp.storage.listing import find_remote
from datarax_mp.storage.options import Storage
from datarax_mp.storage.remote import is_url, without_file_scheme

AnyPath: TypeAlias = str | os.PathLike[str]
_PATTERN = frozenset("*?[")
_URL_PATH = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")


def find_files(
    paths: AnyPath | Iterable[AnyPath], suffix: str | tuple[str, ...], storage: Storage | None = None
) -> list[str]:
    """Files by name, pattern or folder, as absolute paths (a worker may have another working directory), or ``Remote``.

    Args:
        paths: a file, a pattern (``train-*.parquet``, ``**`` for any folders), a folder, whose files with the suffix
            are meant, a URL of one of these, or several. Files of a pattern and of a folder come in the order of their
            names.
        suffix: the format's, with its dot; or those that it has.
        storage: how URLs are reached; None is as ``Storage()`` says.

    Raises:
        FileNotFoundError: there is no such file, or none that a pattern or a folder means.
        TypeError: it is no path.
        ValueError: there is no path at all.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise ValueError("expected paths, found an empty list of them")
    if storage is not None and not isinstance(storage, Storage):
        raise TypeError(f"storage must be a Storage(options=..., ...), found {type(storage).__name__}")
    urls = [path for path in several if isinstance(path, str) and is_url(path)]
    elsewhere = iter(find_remote(urls, suffix, Storage() if storage is None else storage) if urls else ())
    return [file for path in several for file in (next(elsewhere) if path in urls else _files_of(path, suffix))]


def _files_of(path: AnyPath, suffix: str | tuple[str, ...]) -> list[str]:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"expected the path of a file, found {path!r} of type {type(path).__name__}")
    name = os.path.abspath(os.path.expanduser(without_file_scheme(os.fspath(path))))
    if os.path.isfile(name):
        return [name]
    if os.path.isdir(name):
        there = glob.glob(f"{glob.escape(name)}/**/*", recursive=True)
        # A link that leads nowhere stays among them: it is missed when it is opened, and not passed over.
        found = sorted(file for file in there if file.endswith(suffix) and not os.path.isdir(file))
        if not found:
            endings = suffix if isinstance(suffix, str) else " or ".join(suffix)
            raise FileNotFoundError(f"{name}: expected files that end in {endings} in this folder, found none")
        return found
    if not _PATTERN.isdisjoint(name):
        found = sorted(file for file in glob.glob(name, recursive=True) if os.path.isfile(file))
        if not found:
            raise FileNotFoundError(f"{name}: expected files that match this pattern, found none")
        return found
    url = ". Give a URL as a str: a Path takes one of its slashes away" if _URL_PATH.match(os.fspath(path)) else ""
    raise FileNotFoundError(f"{name}: expected a file or a folder, found nothing there{url}")
