"""Bytes of files, a request each, with the tag that the answer names: so that nobody has to ask for that alone.

fsspec's own way to read a range gives the bytes only. Of the protocols that most people use the answer is looked at
here; of any other the tag stays unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from datarax_mp.core.strays import is_interruption
from datarax_mp.storage.remote import Remote

_NOW: dict[str, dict[str, Any]] = {"hf": {"refresh": True, "expand_info": True}}
"""What makes a file system tell how a file is now, of those that keep listings whatever ``use_listings_cache`` says."""


class Span(NamedTuple):
    """Some bytes of a file.

    Attributes:
        file: the file.
        begin: the first one.
        end: the one behind the last.
    """

    file: Remote
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.file}, bytes {self.begin:,} to {self.end:,}"


class Answer(NamedTuple):
    """What a server has given.

    Attributes:
        data: the bytes; all of the file's from a server that knows no ranges.
        tag: the file's ETag, or when it was written; None where that is not told.
    """

    data: bytes
    tag: str | None


def ask(system: Any, spans: Sequence[Span], timeout: float) -> list[Answer | BaseException]:
    """Ask for bytes, all at the same time: an answer for each, or what was raised instead.

    Args:
        system: a file system of fsspec's.
        spans: what is wanted.
        timeout: seconds, where the file system can keep that.
    """
    if not is_asynchronous(system):
        return [_tried(_alone, system, span) for span in spans]
    one = {"http": _by_http, "https": _by_http, "s3": _by_s3, "s3a": _by_s3}.get(_protocol(system), _by_any)
    return _together(system, partial(one, system), spans, timeout)


def about(system: Any, urls: Sequence[str], timeout: float, *, now: bool = False) -> list[Any]:
    """What a file system tells of files, asked about all at the same time, or what was raised instead.

    Args:
        system: see ``ask``.
        urls: the files.
        timeout: see ``ask``.
        now: whether it may have told the same before, and is to look anew.
    """
    names = [system._strip_protocol(url) for url in urls]
    options = _NOW.get(_protocol(system), {}) if now else {}
    if not is_asynchronous(system):
        return [_tried(partial(system.info, **options), name) for name in names]
    return _together(system, partial(system._info, **options), names, timeout)


def _together(system: Any, call: Callable[[Any], Any], questions: Sequence[Any], timeout: float) -> list[Any]:
    """What a coroutine gives for each of several questions, or what it raises, all at the same time."""
    from fsspec.asyn import sync

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(call, questions), return_exceptions=True)

    return sync(system.loop, all_of_them, timeout=timeout)  # type: ignore[no-any-return]


def is_asynchronous(system: Any) -> bool:
    """Whether a file system can have several requests under way."""
    return bool(getattr(system, "async_impl", False))


def plain_tag(tag: Any) -> str:
    """A tag as it is told by whatever call: some give a time as an object, some as a number; some quote.

    A weak ETag counts as the strong one: a server that compresses calls the same file by either.
    """
    return str(tag.timestamp() if hasattr(tag, "timestamp") else tag).removeprefix("W/").strip('"')


def _protocol(system: Any) -> str:
    return system.protocol if isinstance(system.protocol, str) else system.protocol[0]  # type: ignore[no-any-return]


def _tried(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:
        if is_interruption(error):
            raise
        return error


def _alone(system: Any, span: Span) -> Answer:
    return Answer(bytes(system.cat_file(_name(system, span), start=span.begin, end=span.end)), None)


async def _by_any(system: Any, span: Span) -> Answer:
    return Answer(bytes(await system._cat_file(_name(system, span), start=span.begin, end=span.end)), None)


async def _by_http(system: Any, span: Span) -> Answer:
    options = dict(system.kwargs)
    # Compressed on the way, a file has another ETag, and its ranges are those of what was compressed.
    own = {"Accept-Encoding": "identity", "Range": f"bytes={span.begin}-{span.end - 1}"}
    headers = {**options.pop("headers", {}), **own}
    session = await system.set_session()
    async with session.get(system.encode_url(str(span.file)), headers=headers, **options) as answer:
        data = await answer.read()
        answer.raise_for_status()
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    return Answer(data, plain_tag(tag) if tag else None)


async def _by_s3(system: Any, span: Span) -> Answer:
    bucket, key, _ = system.split_path(_name(system, span))
    wanted = f"bytes={span.begin}-{span.end - 1}"
    answer = await system._call_s3("get_object", Bucket=bucket, Key=key, Range=wanted, **system.req_kw)
    try:
        data = await answer["Body"].read()
    finally:
        answer["Body"].close()
    return Answer(data, plain_tag(answer["ETag"]))


def _name(system: Any, span: Span) -> Any:
    return system._strip_protocol(str(span.file))
