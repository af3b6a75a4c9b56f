"""The members of a tar archive, by its headers alone.

    header  data, filled up to 512 bytes      header  data      ...      zeros (the end)

POSIX's ustar, with GNU's long names and pax headers (POSIX.1-2001, "pax Interchange Format"), which stand before the
member that they speak of. Python's tarfile does all this, and much more, at twice the price and with an object for
each member; and it takes a file that was cut off for one that ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from datarax_mp.formats.files import AnyPath

ReadAt: TypeAlias = Callable[[int, int], bytes]

BLOCK = 512
_FILES = b"0\0" + b"7"
_FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_FOR_ALL = b"5", b"L", b"K", b"x", b"g"
_OTHERS = {b"1": "a hard link", b"2": "a symbolic link", b"S": "a sparse file", b"M": "a part of a file"}


class Member(NamedTuple):
    """A regular file within an archive.

    Attributes:
        name: its path, as it stands there.
        begin: where its data begin.
        size: how many bytes they are.
    """

    name: bytes
    begin: int
    size: int


def members(read: ReadAt, length: int, path: AnyPath) -> Iterator[Member]:
    """The regular files of an archive; folders are passed over, and archives may follow one another.

    Args:
        read: gives so many bytes from an offset on; fewer only at the end.
        length: bytes of the archive.
        path: its name, for messages.

    Raises:
        ValueError: it is no tar archive, is damaged or truncated, or has members that are no regular files; file,
            member and offset are named.
    """
    at, ended = 0, False
    lasting: dict[str, bytes] = {}  # what is said of all members that follow
    said: dict[str, bytes] = {}  # of the next one
    while at < length:
        header = read(at, BLOCK)
        if not header.strip(b"\0"):
            at, ended = at + BLOCK, True
            continue
        ended = False
        size = _checked_size(header, at, path)
        kind, name = header[156:157], _name(header)
        data = at + BLOCK
        if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_FOR_ALL):
            _check_end(path, name, at, data + size, length)
            text = read(data, size)
            if kind == _LONG_NAME:
                said["path"] = text.partition(b"\0")[0]
            elif kind == _PAX:
                said |= _pax(text, path, data)
            elif kind == _PAX_FOR_ALL:
                lasting |= _pax(text, path, data)
        else:
            words = lasting | said
            name, said = words.get("path", name), {}
            size = _pax_size(words, path, at) if "size" in words else size
            if sparse := next((word for word in words if word.startswith("GNU.sparse.")), None):
                raise _no_file(path, name, at, f"a sparse file ({sparse})")
            _check_end(path, name, at, data + size, length)
            if kind in _FILES and not name.endswith(b"/"):
                yield Member(name, data, size)
            elif kind != _FOLDER and kind not in _FILES:
                raise _no_file(path, name, at, _OTHERS.get(kind, f"a member of type {kind!r}"))
        at = data + -(-size // BLOCK) * BLOCK
    if said or not ended:
        raise ValueError(
            f"{path}: it is truncated, or whoever wrote it never closed it: expected an end of zeros, found the end "
            f"of the file at byte {length:,}"
        )


def _checked_size(header: bytes, at: int, path: AnyPath) -> int:
    """The size that a header says, if it is a header."""
    if len(header) < BLOCK:
        raise ValueError(f"{path}: it is truncated: it ends in the middle of the header at byte {at:,}")
    try:
        told = int(header[148:156].strip(b" \0") or b"x", 8)
        size = int.from_bytes(header[125:136]) if header[124] & 0x80 else int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        told = size = -1
    rest = header[:148] + b" " * 8 + header[156:]
    # Some old programs have added bytes as if they were signed.
    if size < 0 or (told != sum(rest) and told != sum(rest) - 256 * sum(byte > 127 for byte in rest)):
        what = "is no tar archive" if at == 0 else "is damaged"
        raise ValueError(f"{path}: it {what}: expected a member's header at byte {at:,}, found {header[:16]!r}...")
    return size


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _pax(text: bytes, path: AnyPath, at: int) -> dict[str, bytes]:
    """The records of a pax header: ``12 path=a.b`` and a line feed, say, 12 being its length."""
    words: dict[str, bytes] = {}
    rest = text
    while rest.strip(b"\0"):
        digits, _, _ = rest.partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = rest[len(digits) + 1 : length] if length <= len(rest) else b""
        name, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ValueError(
                f"{path}: it is damaged: expected a pax header's record near byte {at:,}, found {rest[:30]!r}"
            )
        words[name.decode(errors="replace")] = value[:-1]
        rest = rest[length:]
    return words


def _pax_size(words: dict[str, bytes], path: AnyPath, at: int) -> int:
    if not words["size"].isdigit():
        raise ValueError(
            f"{path}: it is damaged: expected a size for the member at byte {at:,}, found {words['size']!r}"
        )
    return int(words["size"])


def _check_end(path: AnyPath, name: bytes, at: int, end: int, length: int) -> None:
    if end > length:
        raise ValueError(
            f"{path}: it is truncated: member {_text(name)!r}, whose header is at byte {at:,}, ends at byte {end:,}, "
            f"and the file has {length:,}"
        )


def _no_file(path: AnyPath, name: bytes, at: int, found: str) -> ValueError:
    return ValueError(
        f"{path}: member {_text(name)!r} at byte {at:,} is {found}, and only regular files hold data: write the "
        "archive with tar --dereference --hard-dereference, without --sparse"
    )


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
