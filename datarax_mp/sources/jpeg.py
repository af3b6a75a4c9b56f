"""JPEGs with faults that do not matter: stray bytes, odd metadata, a missing end.

libjpeg-turbo warns of what it stumbles over and goes on, over real damage (then part of the image is grey) as over a
stray byte, and it tells the first warning only. So a warning is an error here, unless it is shown that it is a harmless
one and that no worse one is hidden behind it:

    metadata, stray bytes in the header     left out; they are plain to see
    one scan                                its restart intervals are decoded each by itself: stray bytes can only be
                                            the last thing that is found in one, where they hide nothing
    several scans                           the stray bytes are cut out, place by place, until no warning is left; the
                                            decoder says how many, and if a needed one were cut, that would be a warning
    several scans with restart intervals    left to Pillow, which does not care; no camera writes such files

An arithmetic code does not show where it ends: a missing end is an error there, and several scans are left to Pillow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_MARKER = re.compile(rb"\xff+[\x01-\xfe]")
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_NO_END = "Premature end of JPEG file"

_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})  # each component comes in one scan; the last one is arithmetic
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_RST, _SOI, _EOI, _SOS, _DRI, _TEM = range(0xD0, 0xD8), 0xD8, 0xD9, 0xDA, 0xDD, 0x01
_JFIF, _ADOBE = 0xE0, 0xEE
_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE}) - {_JFIF, _ADOBE}
_BARE = frozenset({*_RST, _SOI, _EOI, _TEM})  # markers without content
_END = bytes((0xFF, _EOI))
_LONGEST_SIDE = 65_500  # that libjpeg takes
_MOST_PLACES = 32  # with stray bytes in one file; there are about ten scans


class Decode(Protocol):
    """How a decoder is called: ``strict`` makes its first warning a ValueError."""

    def __call__(self, data: bytes, *, strict: bool) -> np.ndarray: ...  # noqa: D102


def segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The segments of a JPEG up to its end, stray bytes and coded pixels left out; ends early at a damaged one.

    Yields:
        the marker, a byte that tells the kind; where it begins, fill bytes included; where its content starts, behind
        the two bytes of its length; and where it ends.

    >>> [hex(marker) for marker, begin, start, end in segments(bytes.fromhex("ffd8 fffe0003aa 123456 ffd9"))]
    ['0xfe', '0xd9']
    """
    position, length = 2, len(data)
    while match := _MARKER.search(data, position):
        begin, position = match.span()
        marker = data[position - 1]
        if marker in _BARE:
            yield marker, begin, position, position
            if marker == _EOI:
                return
            continue
        end = position + int.from_bytes(data[position : position + 2], "big")
        if not position + 2 <= end <= length:
            return
        yield marker, begin, position + 2, end
        position = end


def decode_mended(data: bytes, decode: Decode, warning: ValueError) -> np.ndarray | None:
    """Decode a JPEG that ``decode`` refused, if its faults do not matter.

    Args:
        data: the file's content.
        decode: the decoder.
        warning: what it said.

    Returns:
        The pixels; None if it is left to Pillow.

    Raises:
        ValueError: the first warning that is about the pixels.
    """
    frame = Frame.of(data)
    if frame is None:
        raise warning
    data = tidied(data, frame)
    found = _try(data, decode)
    if not isinstance(found, ValueError):
        return found
    if frame.has_one_scan:
        return _decode_one_scan(data, decode, found)
    if _as_stray(found) is None:
        raise found
    if frame.interval or frame.marker not in _HUFFMAN:
        return None
    return _decode_several_scans(data, decode, found)


@dataclass(frozen=True, slots=True)
class Frame:
    """What the header says of the pixels.

    Attributes:
        marker: the kind of the code.
        begin: where the frame's content begins.
        components: how many there are: 1, 3 or 4.
        unit: width and height in pixels of what is coded together.
        units: how many of these lie side by side, and how many rows of them there are.
        interval: how many lie between two restart markers, 0 if there are none.
        has_one_scan: whether one scan holds all components, whole.
    """

    marker: int
    begin: int
    components: int
    unit: tuple[int, int]
    units: tuple[int, int]
    interval: int
    has_one_scan: bool

    @classmethod
    def of(cls, data: bytes) -> Frame | None:
        """Read the header; None if it is damaged."""
        begin, kind, interval, scans = 0, 0, 0, []
        for marker, _, start, end in segments(data):
            if marker in _FRAMES:
                kind, begin = marker, start
            elif marker == _DRI and end - start == 2:
                interval = int.from_bytes(data[start:end], "big")
            elif marker == _SOS and start < end:
                scans.append(data[start])
        if not begin or len(data) < begin + 6:
            return None
        height, width = (int.from_bytes(data[place : place + 2], "big") for place in (begin + 1, begin + 3))
        components = data[begin + 5]
        factors = data[begin + 7 : begin + 6 + 3 * components : 3]
        if not factors or not all(factor >> 4 and factor & 15 for factor in factors):
            return None
        across, down = max(factor >> 4 for factor in factors), max(factor & 15 for factor in factors)
        unit = (8, 8) if components == 1 else (8 * across, 8 * down)
        units = (-(-width // unit[0]), -(-height // unit[1]))
        return cls(kind, begin, components, unit, units, interval, kind in _SEQUENTIAL and scans == [components])

    def shape_of(self, units: int) -> tuple[int, int] | None:
        """Width and height in pixels of an image of so many units; None if libjpeg has no room for it."""
        if units == self.units[0] * self.units[1]:
            return self.units[0] * self.unit[0], self.units[1] * self.unit[1]
        for rows in range(1, units + 1):
            width, height = units // rows * self.unit[0], rows * self.unit[1]
            if units % rows == 0 and max(width, height) <= _LONGEST_SIDE:
                return width, height
        return None


def tidied(data: bytes, frame: Frame) -> bytes:
    """A JPEG without what does not bear on its pixels: metadata, stray bytes between segments, odd parameters."""
    parts, last, in_scan = [data[:2]], 2, False
    for marker, begin, start, end in segments(data):
        if in_scan:
            parts.append(data[last:begin])
        last = end
        in_scan = marker == _SOS or (in_scan and marker in _RST)
        if marker in _METADATA:
            continue
        content = bytearray(data[start:end])
        if marker == _JFIF and content.startswith(b"JFIF\0") and len(content) > 5:
            content[5] = 1  # another major revision is read like the first
        elif marker == _ADOBE and content.startswith(b"Adobe") and len(content) > 11:
            converted = 2 if frame.components == 4 else 1  # what an unknown code is taken for
            if content[11] not in (0, converted):
                content[11] = converted
        elif marker == _SOS and frame.marker in _SEQUENTIAL and len(content) >= 6:
            content[-3:] = b"\0\x3f\0"  # only progressive scans have a choice
        length = b"" if marker in _BARE else (len(content) + 2).to_bytes(2, "big")
        parts.append(bytes((0xFF, marker)) + length + content)
    if parts[-1] != _END:
        parts.append(data[last:])
    return b"".join(parts)


def _try(data: bytes, decode: Decode) -> np.ndarray | ValueError:
    try:
        return decode(data, strict=True)
    except ValueError as error:
        return error


def _as_stray(found: np.ndarray | ValueError) -> tuple[int, int] | None:
    """How many stray bytes a warning tells of, and the marker behind them."""
    stray = _STRAY.search(str(found)) if isinstance(found, ValueError) else None
    return (int(stray[1]), int(stray[2], 16)) if stray else None


def _decode_one_scan(data: bytes, decode: Decode, warning: ValueError) -> np.ndarray | None:
    frame = Frame.of(data)
    may_lack_end = frame is not None and frame.marker in _HUFFMAN and _NO_END in str(warning)
    if frame is None or not (_as_stray(warning) or may_lack_end):
        raise warning
    header, pieces, restarts = _cut_at_restarts(data)
    total = frame.units[0] * frame.units[1]
    each = frame.interval or total
    if len(pieces) != -(-total // each) or restarts != [_RST[number % 8] for number in range(len(restarts))]:
        raise warning  # parts of the image are missing, or there are too many
    for number, piece in enumerate(pieces):
        shape = frame.shape_of(min(each, total - number * each))
        if shape is None:
            return None
        width, height = (side.to_bytes(2, "big") for side in shape)
        alone = header[: frame.begin + 1] + height + width + header[frame.begin + 5 :] + piece + _END
        found = _try(alone, decode)
        if isinstance(found, ValueError) and not _as_stray(found):
            raise warning if _NO_END in str(warning) else found
    return decode(data if data.endswith(_END) else data + _END, strict=False)


def _cut_at_restarts(data: bytes) -> tuple[bytes, list[bytes], list[int]]:
    """The header of a JPEG with one scan, the coded pixels between two markers each, and the restart markers."""
    header, pieces, restarts, last = 0, [], [], 0
    for marker, begin, _, end in segments(data):
        if header:
            pieces.append(data[last:begin])
            if marker != _EOI:
                restarts.append(marker)
        elif marker == _SOS:
            header = end
        last = end
    if not data.endswith(_END):
        pieces.append(data[last:])
    return data[:header], pieces, restarts


def _decode_several_scans(data: bytes, decode: Decode, warning: ValueError) -> np.ndarray | None:
    last = 0  # what lies before it is clean
    for _ in range(_MOST_PLACES):
        if (stray := _as_stray(warning)) is None:
            raise warning
        place = _find(data, last, decode, *stray)
        if place is None:
            raise warning
        last = place - stray[0]
        data = data[:last] + data[place:]
        found = _try(data, decode)
        if not isinstance(found, ValueError):
            return found
        warning = found
    return None


def _find(data: bytes, first: int, decode: Decode, count: int, kind: int) -> int | None:
    """Where the marker behind the first stray bytes is: many look like it.

    The first warning is of the first fault. So if the file is ended at a marker, stray bytes at that end are reported
    when it is this one, and not before.
    """
    end, in_scan = 0, False
    for marker, begin, _, until in segments(data):
        if in_scan and marker == kind and begin >= max(first, end + count):
            stray = _as_stray(_try(data[:begin] + _END, decode))
            if stray == (count, _EOI):
                return begin
        end, in_scan = until, marker == _SOS
    return None
