"""Messages on the wire, against what Protocol Buffers say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.formats.wire import fields, int64s, varint


def written(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 300)), max_size=60), st.integers(0, 3))
def test_integers_are_what_was_written(values: list[int], before: int) -> None:
    data = b"\xff" * before + b"".join(map(written, values)) + b"\xff"
    assert int64s(data, before, len(data) - 1).tolist() == values


@pytest.mark.parametrize("data", [b"\x80", b"\x01" * 20 + b"\x80", b"\xff" * 30 + b"\x01", b"\xff" * 30])
def test_integers_without_an_end_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected (a varint|varints)"):
        int64s(data, 0, len(data))


def test_fields_of_every_wire_type_are_passed() -> None:
    data = b"".join(
        [b"\x08" + written(300), b"\x11" + b"8" * 8, b"\x1a" + written(200) + b"b" * 200, b"\x25four", b"\x82\x7d\x00"]
    )
    assert [(number, wire, end - begin) for number, wire, begin, end in fields(data, 0, len(data))] == [
        (1, 0, 2),
        (2, 1, 8),
        (3, 2, 200),
        (4, 5, 4),
        (2000, 2, 0),
    ]


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0a\xff", b"\x0b", b"\x25abc", b"\x02\x00", b"\x08", b"\x8a"]
)
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        fields(data, 0, len(data))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    for read in (fields, int64s, varint):
        try:
            read(data, 0, len(data))  # type: ignore[operator]
        except ValueError:
            pass


def test_int64s_may_be_written_to() -> None:
    for data in (b"\x01" * 3, b"\x01" * 30, b"\x81\x01" * 30):
        assert int64s(data, 0, len(data)).flags.writeable
    assert int64s(b"", 0, 0).dtype == np.int64
