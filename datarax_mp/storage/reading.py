"""Files by name, wherever they lie: pieces of them, open, and whole."""

from __future__ import annotations

import errno
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.refusals import is_refusal
from datarax_mp.storage.asking import fetch
from datarax_mp.storage.entry import PART, Entry, parts_of
from datarax_mp.storage.folder import alone, entry_of, held, make_room
from datarax_mp.storage.ranges import Span
from datarax_mp.storage.remote import Remote

log = logging.getLogger("datarax_mp")

_REQUEST_BYTES = 4 << 20  # parts that follow one another are asked for together, up to here
_FULL = (errno.ENOSPC, errno.EDQUOT)

Parts: TypeAlias = dict[tuple[str, int], NDArray[np.uint8]]
"""Parts of files, by the key of the file and the number of the part."""


@contextmanager
def here(path: str) -> Iterator[str]:
    """The whole of a file, as one of this system; what was opened within this may be used afterwards, too.

    Raises:
        OSError: it cannot be had, or there is no room for it.
    """
    if not isinstance(path, Remote):
        yield path
        return
    with ExitStack() as undo:
        entry = _held(path, undo)
        with alone(entry.have_path):  # one of many reads it
            bring([Span(path, 0, path.size)], needed=True)
        yield entry.data_path


def _held(file: Remote, undo: ExitStack) -> Entry:
    """A file's entry, which nobody takes out of the folder meanwhile."""
    while True:
        entry = entry_of(file)
        try:
            undo.enter_context(held(entry.data_path))
        except FileNotFoundError:  # it was taken out just now
            continue
        if not entry.is_gone:
            return entry
        undo.close()


def opened(path: str) -> BinaryIO:
    """A file, open for reading; of one that lies elsewhere no more is asked for than what is read."""
    if not isinstance(path, Remote):
        return open(path, "rb")
    return cast("BinaryIO", _Ranged(path))  # no buffer: it would read further than anybody wants


def read_remote(file: Remote, begin: int, end: int) -> NDArray[np.uint8]:
    """The bytes of a file from ``begin`` up to ``end``.

    Raises:
        OSError: they cannot be had, or the file ends before.
    """
    if end > file.size:
        raise OSError(f"{file}: expected bytes up to {end:,}, found the end of the file at {file.size:,}")
    span = Span(file, begin, end)
    brought = bring([span])
    entry = brought.entries[file.key]
    return entry.read(begin, end) if not brought.unkept else _put_together(span, entry, brought.unkept)


class Brought(NamedTuple):
    """What was brought into the cache.

    Attributes:
        entries: where it is, by the key of the file. (Whoever asks for an entry later may get another one.)
        unkept: the parts for which there was no room.
        asked: whether anything had to be asked for.
    """

    entries: dict[str, Entry]
    unkept: Parts
    asked: bool = False


def bring(spans: Sequence[Span], *, needed: bool = False) -> Brought:
    """Have bytes of files in the cache: those that are not there are asked for all together.

    Args:
        spans: which.
        needed: whether they have to be there afterwards; otherwise a full disk is only a word in the log.

    Raises:
        OSError: they cannot be had.
    """
    brought = Brought({span.file.key: entry_of(span.file) for span in spans}, {})
    parts = {
        (span.file.key, part): span.file
        for span in spans
        for part in brought.entries[span.file.key].missing(span.begin, span.end).tolist()
    }
    requests = _requests(parts)
    storage = spans[0].file.storage
    for first in range(0, len(requests), storage.requests):
        group = requests[first : first + storage.requests]
        _keep(group, fetch(group, storage), brought, needed=needed)
    return brought._replace(asked=bool(requests))


def bring_ends(files: Iterable[str], size: int) -> None:
    """Have the last bytes of those files in the cache that lie elsewhere, for whoever is about to look at all."""
    spans = [Span(file, max(0, file.size - size), file.size) for file in files if isinstance(file, Remote)]
    if spans:
        bring(spans)


def _requests(parts: Mapping[tuple[str, int], Remote]) -> list[Span]:
    """Parts that follow one another, put together."""
    found: list[Span] = []
    for key, part in sorted(parts):
        file = parts[key, part]
        begin, end = part * PART, min((part + 1) * PART, file.size)
        last = found[-1] if found else None
        if last and (last.file.key, last.end) == (key, begin) and end - last.begin <= _REQUEST_BYTES:
            found[-1] = last._replace(end=end)
        else:
            found.append(Span(file, begin, end))
    return found


def _keep(group: Sequence[Span], answers: Sequence[bytes], brought: Brought, *, needed: bool) -> None:
    """Put what was asked for into the cache; where there is no room, among what is not kept."""
    storage = group[0].file.storage
    written: dict[str, list[int]] = {}
    try:
        make_room(storage.folder, storage.cache_bytes, sum(map(len, answers)), {span.file.key for span in group})
        for span, data in zip(group, answers, strict=True):
            brought.entries[span.file.key].write(span.begin, data)
            written.setdefault(span.file.key, []).extend(_parts(span))
        for key, parts in written.items():
            brought.entries[key].mark(parts)
    except OSError as error:
        if not is_refusal(error):
            raise
        if needed or error.errno not in _FULL:
            raise OSError(
                error.errno,
                f"{group[0]}: it cannot be kept in the cache folder {storage.folder}: {error.strerror or error}. Say "
                "another one, or another size: Storage(cache_folder=..., cache_bytes=...)",
            ) from error
        log.warning("%s: it is not kept: there is no room in the cache folder %s", group[0], storage.folder)
        for span, data in zip(group, answers, strict=True):
            for part in _parts(span):
                at = part * PART - span.begin
                brought.unkept[span.file.key, part] = np.frombuffer(data, np.uint8)[at : at + PART]


def _parts(span: Span) -> range:
    return range(span.begin // PART, parts_of(span.end))


def _put_together(span: Span, entry: Entry, unkept: Parts) -> NDArray[np.uint8]:
    """Bytes of which not all could be kept."""
    pieces = []
    for part in _parts(span):
        first = part * PART
        begin, end = max(span.begin, first), min(span.end, first + PART)
        own = unkept.get((span.file.key, part))
        pieces.append(entry.read(begin, end) if own is None else own[begin - first : end - first])
    return np.concatenate(pieces)


class _Ranged(io.RawIOBase):
    """A file that lies elsewhere, open for reading."""

    def __init__(self, file: Remote) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        into = memoryview(buffer).cast("B")
        end = min(self._at + len(into), self._file.size)
        if end <= self._at:
            return 0
        data = read_remote(self._file, self._at, end)
        into[: len(data)] = data.data
        self._at = end
        return len(data)
