"""Where the lines of a text file begin, found out by going through it once."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.formats.compressed import decompressed, is_compressed
from datarax_mp.formats.indexes import Arrays
from datarax_mp.storage.reading import here

_CHUNK = 1 << 24
_NEWLINE, _RETURN, _QUOTE = ord("\n"), ord("\r"), ord('"')
_BLANK = np.isin(np.arange(256), list(b" \t\r\n\v\f"))
_ENDING = np.isin(np.arange(256), list(b"\r\n"))

Bytes: TypeAlias = NDArray[np.uint8]


def lines_of(path: str, extra: str) -> Arrays:
    """Where lines begin that hold anything but space, and the end of the file."""
    return _index(path, extra, lambda chunk, quoted: (chunk == _NEWLINE, False), _BLANK)


def rows_of(path: str, extra: str) -> Arrays:
    """The same of a CSV file's rows, which go on where a line ends within quotes; lines without anything are none.

    As RFC 4180 has it, a quote within quotes is two of them, so that their number says where one is. A return alone
    ends a row, too, as in files of old Macs; where a newline follows it, that is a line without anything.
    """

    def ends(chunk: Bytes, quoted: bool) -> tuple[NDArray[np.bool_], bool]:
        endings = (chunk == _NEWLINE) | (chunk == _RETURN)
        quotes = np.cumsum(chunk == _QUOTE, dtype=np.uint8)  # wraps around, and stays even or odd
        inside = (quotes & 1).astype(bool) ^ quoted
        return endings & ~inside, bool(inside[-1])

    return _index(path, extra, ends, _ENDING)


def line_number(path: str, at: int, extra: str) -> int:
    """Which line of a file it is that begins at a byte, from 1."""
    head = head_of(path, at, extra)
    return 1 + (head.count(b"\n") or head.count(b"\r"))


def head_of(path: str, size: int, extra: str) -> bytes:
    """The first bytes of a file."""
    with _opened(path, extra) as file:
        return file.read(size)


@contextmanager
def _opened(path: str, extra: str) -> Iterator[BinaryIO]:
    if is_compressed(path):
        yield io.BytesIO(decompressed(path, extra))
    else:
        with here(path) as name, open(name, "rb") as file:
            yield file


def _index(
    path: str,
    extra: str,
    ends: Callable[[Bytes, bool], tuple[NDArray[np.bool_], bool]],
    nothing: NDArray[np.bool_],
) -> Arrays:
    """Go through a file.

    Args:
        path: the file.
        extra: see ``decompressed``.
        ends: says of a chunk which bytes end a line, and whether it ends within quotes; told whether it begins so.
        nothing: of each byte whether a line of such alone is none.

    Raises:
        ValueError: it ends within quotes.
    """
    begins: list[NDArray[np.int64]] = []
    at = begin = 0  # of the chunk, and of the line that it begins in the middle of
    there = quoted = False  # whether that line has anything in it
    with _opened(path, extra) as file:
        while data := file.read(_CHUNK):
            chunk = np.frombuffer(data, np.uint8)
            ending, quoted = ends(chunk, quoted)
            starts = np.flatnonzero(ending) + 1
            ended, starts = len(starts), np.append(0, starts[starts < len(chunk)])
            holds = np.logical_or.reduceat(~nothing[chunk], starts)
            holds[0] |= there
            places = starts + at
            places[0] = begin
            begins.append(places[:ended][holds[:ended]])
            at += len(chunk)
            open_ended = ended < len(starts)
            begin, there = (int(places[-1]), bool(holds[-1])) if open_ended else (at, False)
    if quoted:
        raise ValueError(f"{path}: the row that begins at byte {begin:,} opens a quote that is never closed")
    last = [begin] if there else []
    return {"begins": np.concatenate([*begins, np.array([*last, at], np.int64)])}
