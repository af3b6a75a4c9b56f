"""Requests to servers: several at a time, again where one failed.

fsspec speaks the protocols; what it raises is put into words here, with what will not get better told apart from what
may. A file system of its has a thread and connections, so every process makes its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from datarax_mp.core.backoff import pause
from datarax_mp.core.strays import is_interruption
from datarax_mp.storage.options import Storage
from datarax_mp.storage.ranges import Answer, Span, about, ask, is_asynchronous, plain_tag
from datarax_mp.storage.remote import Remote

log = logging.getLogger("datarax_mp")


class Changed(OSError):
    """A file is another one than it was."""


_FORBIDDEN, _MISSING, _IN_VAIN = (401, 403), (404, 410), range(400, 500)
_AFTER_ALL = (408, 425, 429)  # of those in vain: the server says "later"

_OURS = (Changed, ImportError, TypeError, ValueError, NotImplementedError, MemoryError, AssertionError)

_LOOK_SECONDS = 0.002  # a request takes longer
_looking = threading.RLock()
_under_way: dict[tuple[int, int], int] = {}  # requests, by thread and by process: one that was forked has none

_HASHES = ("ETag", "etag", "blob_id", "xet_hash", "sha", "hex", "md5", "md5Hash", "content_md5", "checksum")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "modified", "modify", "last_write_time")
_TAGS = (*_HASHES, *_TIMES, "modifiedTime", "modificationTime", "uploaded_at", "updated", "created")
"""By which names file systems tell a hash of a file, or when it was written; not when it was read, as ``time`` does."""

_draws = random.Random()  # the user's own generator stays as it is
_systems: dict[tuple[int, str, str], Any] = {}


def system_of(url: str, storage: Storage) -> tuple[Any, str]:
    """This process's file system for a URL, and what the URL is called there.

    Raises:
        ImportError: what speaks this protocol is not installed.
        ValueError: nobody knows the protocol, or the options are wrong.
    """
    protocol = url.partition("://")[0]
    key = os.getpid(), protocol, repr(sorted(storage.options.items()))
    found = _systems.get(key)
    if found is None:
        found = _systems[key] = _made(url, protocol, storage)
    return found, found._strip_protocol(url)


def _made(url: str, protocol: str, storage: Storage) -> Any:
    try:
        from fsspec import filesystem
    except ImportError as error:
        raise ImportError(f'{url}: URLs need fsspec: pip install "datarax-mp[remote]"', name="fsspec") from error
    try:
        return filesystem(protocol, **{"use_listings_cache": False, **storage.options})
    except ImportError as error:
        extra = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}.get(protocol, "remote")
        raise ImportError(f'{url}: {error}: pip install "datarax-mp[{extra}]"', name=error.name) from error
    except (ValueError, TypeError) as error:
        options = ", ".join(map(repr, storage.options)) or "none"  # not their values: there are secrets among them
        raise ValueError(f"{url}: fsspec cannot reach it (options: {options}): {error}") from error


def called(system: Any, name: str, storage: Storage, *arguments: Any, **options: Any) -> Any:
    """What a method of a file system gives, within the time limit where that can be kept."""
    if is_asynchronous(system):
        from fsspec.asyn import sync

        return sync(system.loop, getattr(system, f"_{name}"), *arguments, timeout=storage.timeout, **options)
    return getattr(system, name)(*arguments, **options)


def again(ask: Callable[[list[int]], Sequence[Any]], what: Sequence[str], storage: Storage) -> list[Any]:
    """Answers to some questions; those that were not answered are asked again, where that may help.

    Args:
        ask: gives for questions, by their places, what each is answered with, or what was raised instead.
        what: the questions, for messages.
        storage: how often, and how long, is waited.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it failed to the last; what was asked for, how often, and why are told.
        PermissionError: the server does not allow it.
    """
    found: list[Any] = [None] * len(what)
    left = list(range(len(what)))
    tried = 0
    while left:
        try:
            answers = ask(left)
        except Exception as error:  # of all together: no answer in time, say
            if is_interruption(error):
                raise
            answers = [error] * len(left)
        failed: dict[int, BaseException] = {}
        for place, answer in zip(left, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[place] = answer
            elif not isinstance(answer, Exception):
                raise answer
            elif (hopeless := _in_vain(real := _real(answer), what[place])) is not None:
                raise hopeless from answer
            else:
                failed[place] = real
        left, tried = list(failed), tried + 1
        if left:
            _pause(what[left[0]], failed[left[0]], tried, storage)
    return found


def _pause(what: str, error: BaseException, tried: int, storage: Storage) -> None:
    """Wait until it is time for a further attempt.

    Raises:
        OSError: there were enough of them.
    """
    if tried > storage.retries:
        times = f" {tried} times" if tried > 1 else ""
        raise OSError(f"{what}: it was asked for{times}, and could not be had: {_words(error)}") from error
    seconds = pause(tried) * _draws.uniform(0.5, 1)
    log.info("%s: %s; attempt %d follows in %.1f s", what, _words(error), tried + 1, seconds)
    time.sleep(seconds)


def fetch(spans: Sequence[Span], storage: Storage) -> list[bytes]:
    """Bytes of files, asked for all at once; they are known to be of the files that these were.

    Raises:
        OSError: see ``again``; or a file was written since.
    """
    unsure: dict[str, Remote] = {}

    def asked(places: list[int]) -> list[bytes | BaseException]:
        wanted = [spans[place] for place in places]
        with _places(len(wanted), storage.requests):
            answers = _apart(wanted, [span.file for span in wanted], storage, ask)
        return [_looked_at(span, answer, unsure) for span, answer in zip(wanted, answers, strict=True)]

    found = again(asked, list(map(str, spans)), storage)
    files = list(unsure.values())
    for file, (size, tag) in zip(files, sizes_and_tags(files, storage), strict=True):
        if size != file.size or (file.told and tag != file.tag):
            raise _changed(file, f"{size:,}", tag)
    return found


@contextmanager
def _places(requests: int, most: int) -> Iterator[None]:
    """Wait until so many requests may begin, so that no more than ``most`` are under way in all threads."""
    mine = os.getpid(), threading.get_ident()
    try:
        while not _place(mine, requests, most):
            time.sleep(_LOOK_SECONDS)  # and no condition: a signal handler can raise in the lines of its methods
        yield
    finally:
        _under_way.pop(mine, None)


def _place(mine: tuple[int, int], requests: int, most: int) -> bool:
    """Whether so many requests may begin; then they count as begun."""
    with _looking:
        others = sum(count for at, count in list(_under_way.items()) if at[0] == mine[0] and at != mine)
        if others and others + requests > most:
            return False
        _under_way[mine] = requests
        return True


def _looked_at(span: Span, answer: Answer | BaseException, unsure: dict[str, Remote]) -> bytes | BaseException:
    """The bytes that were wanted; files of which the answer does not say whether they are the same are noted."""
    if isinstance(answer, BaseException):
        return answer
    if answer.tag is None or not span.file.told:
        unsure[span.file.key] = span.file
    elif answer.tag != span.file.tag:
        return _changed(span.file, "another one", answer.tag)
    wanted, data = span.end - span.begin, answer.data
    if len(data) == span.file.size > wanted:  # a server that knows no ranges
        data = data[span.begin : span.end]
    if len(data) != wanted:
        return ConnectionError(f"expected {wanted:,} bytes, found an answer of {len(data):,}")
    return data


def _changed(file: Remote, size: str, tag: str) -> Changed:
    return Changed(
        f"{file}: it was written while it was being read: expected {file.size:,} bytes with ETag or time "
        f"{file.tag!r}, found {size} with {tag!r}. Make the source anew"
    )


def sizes_and_tags(urls: Sequence[str], storage: Storage) -> list[tuple[int, str]]:
    """Those that files have now; see ``infos``."""
    return [size_and_tag(url, info) for url, info in zip(urls, infos(urls, storage, now=True), strict=True)]


def infos(urls: Sequence[str], storage: Storage, *, now: bool = False) -> list[dict[str, Any]]:
    """What fsspec tells of files, asked about several at a time; ``now`` as in ``about``.

    Raises:
        OSError: see ``again``.
    """
    found: list[dict[str, Any]] = []
    for first in range(0, len(urls), storage.requests):
        group = urls[first : first + storage.requests]

        def asked(places: list[int], group: Sequence[str] = group) -> list[Any]:
            wanted = [group[place] for place in places]
            return _apart(wanted, wanted, storage, partial(about, now=now))

        found += again(asked, group, storage)
    return found


def _apart(
    questions: Sequence[Any], urls: Sequence[str], storage: Storage, ask: Callable[[Any, list[Any], float], list[Any]]
) -> list[Any]:
    """The answers to questions about files, each asked of the file system of its URL."""
    found: list[Any] = [None] * len(questions)
    by_system: dict[int, tuple[Any, list[int]]] = {}
    for place, url in enumerate(urls):
        system, _ = system_of(url, storage)
        by_system.setdefault(id(system), (system, []))[1].append(place)
    for system, places in by_system.values():
        for place, answer in zip(places, ask(system, [questions[one] for one in places], storage.timeout), strict=True):
            found[place] = answer
    return found


def size_and_tag(url: str, info: dict[str, Any]) -> tuple[int, str]:
    """The same, out of what fsspec tells of a file; the tag is "" where that is nothing that changes with the file.

    Raises:
        ValueError: the server does not say how long it is.
    """
    size = info.get("size")
    if size is None:
        raise ValueError(f"{url}: the server does not say how long the file is, so it cannot be read in parts")
    return int(size), next((plain_tag(info[name]) for name in _TAGS if info.get(name)), "")


def _in_vain(error: Exception, what: str) -> Exception | None:
    """What is raised instead of an error that no further attempt will change; None for one that it may."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in _MISSING:
        return FileNotFoundError(f"{what}: expected a file, found nothing there: {_words(error)}")
    if isinstance(error, PermissionError) or status in _FORBIDDEN:
        return PermissionError(
            f"{what}: the server does not allow it: {_words(error)}. Look at the credentials, which may have expired "
            "(Storage(options=...))"
        )
    if status in _IN_VAIN and status not in _AFTER_ALL:
        return OSError(f"{what}: the server refuses it: {_words(error)}")
    if type(error).__name__ == "NoCredentialsError":  # botocore's
        return PermissionError(f"{what}: {error}. Say who you are, or options={{'anon': True}}")
    if isinstance(error, _OURS):
        return error
    return None


def _real(error: Exception) -> Exception:
    """What has happened: whatever it is, fsspec says of a file that it asks a web server about that there is none."""
    cause = error.__cause__
    of_http = type(cause).__module__.partition(".")[0] == "aiohttp" or isinstance(cause, asyncio.TimeoutError)
    return cause if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and of_http else error


def _words(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer within the time limit"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
