"""From URLs, patterns and folders to the files that they mean."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from datarax_mp.storage.asking import again, called, infos, size_and_tag, system_of
from datarax_mp.storage.options import Storage
from datarax_mp.storage.remote import Remote, made_up

log = logging.getLogger("datarax_mp")

_PATTERN = frozenset("*[")  # a question mark begins the query of a URL

_silent: set[str] = set()  # protocols of which it was said that nothing is told


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
    for system in {system_of(url, storage)[0] for url in urls}:
        system.invalidate_cache()  # some keep listings, whatever ``use_listings_cache`` says
    plain = [url for url in urls if _PATTERN.isdisjoint(url)]
    about = dict(zip(plain, infos(plain, storage), strict=True))
    return [_found(url, about.get(url), suffix, storage) for url in urls]


def _found(url: str, info: dict[str, Any] | None, suffix: str | tuple[str, ...], storage: Storage) -> list[Remote]:
    if info is not None and info.get("type") != "directory":
        return [_remote(url, info, storage)]
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
    return [_remote(file, info, storage) for file, info in files.items()]


def _remote(url: str, info: dict[str, Any], storage: Storage) -> Remote:
    size, tag = size_and_tag(url, info)
    if not tag and (protocol := url.partition("://")[0]) not in _silent:
        _silent.add(protocol)
        log.warning(
            "%s: expected an ETag, another hash or a time of this file, found %s. What is read of it is kept for this "
            "source only, not for a later run, and a change of it goes unnoticed while it is read",
            url,
            ", ".join(sorted(info)),
        )
    return Remote(url, size, tag or made_up(), storage)
