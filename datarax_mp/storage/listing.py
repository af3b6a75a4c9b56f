"""From URLs, patterns and folders to the files that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datarax_mp.storage.asking import again, called, infos, size_and_tag, system_of
from datarax_mp.storage.options import Storage
from datarax_mp.storage.remote import Remote

_PATTERN = frozenset("*[")  # a question mark begins the query of a URL


def find_remote(urls: Sequence[str], suffix: str | tuple[str, ...], storage: Storage) -> list[list[Remote]]:
    """The files that each URL means, in the order of their names.

    Args:
        urls: of files, folders, or patterns.
        suffix: that, or those, of a folder's files that are wanted.
        storage: how they are reached.

    Raises:
        FileNotFoundError: there are none.
        OSError: the server does not answer, or refuses to.
        PermissionError: it does not allow it.
    """
    plain = [url for url in urls if _PATTERN.isdisjoint(url)]
    about = dict(zip(plain, infos(plain, storage), strict=True))
    return [_found(url, about.get(url), suffix, storage) for url in urls]


def _found(url: str, info: dict[str, Any] | None, suffix: str | tuple[str, ...], storage: Storage) -> list[Remote]:
    if info is not None and info.get("type") != "directory":
        return [Remote(url, *size_and_tag(url, info), storage)]
    system, name = system_of(url, storage)
    if info is None:
        [found] = again(lambda _: [called(system, "glob", storage, name, detail=True)], [url], storage)
        what = "that match this pattern"
    else:
        [found] = again(lambda _: [called(system, "find", storage, name, detail=True)], [url], storage)
        found = {path: info for path, info in found.items() if path.endswith(suffix)}
        what = f"that end in {suffix if isinstance(suffix, str) else ' or '.join(suffix)} in this folder"
    files = {system.unstrip_protocol(path): found[path] for path in sorted(found)}
    files = {file: info for file, info in files.items() if info.get("type") != "directory"}
    if not files:
        raise FileNotFoundError(f"{url}: expected files {what}, found none")
    incomplete = [
        file for file, about in files.items() if about.get("size") is None or not size_and_tag(file, about)[1]
    ]
    files.update(zip(incomplete, infos(incomplete, storage), strict=True))
    return [Remote(file, *size_and_tag(file, info), storage) for file, info in files.items()]
