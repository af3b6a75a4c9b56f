"""Members of tar archives, against Python's tarfile, and whatever may stand in an archive instead."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarax_mp.formats.tar_index import index_of
from datarax_mp.formats.tar_members import BLOCK, Member, members

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300)
files = st.lists(st.tuples(names, st.binary(max_size=1200)), max_size=8)


def archive(content: list[tuple[str, bytes]], kind: int) -> bytes:
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w", format=kind) as file:
        for name, data in content:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def found(raw: bytes) -> list[Member]:
    return list(members(lambda at, size: raw[at : at + size], len(raw), "a.tar"))


@given(files, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_members_are_those_that_tarfile_finds(content: list[tuple[str, bytes]], kind: int) -> None:
    raw = archive(content, kind)
    with tarfile.open(fileobj=io.BytesIO(raw)) as file:
        expected = [(one.name, one.offset_data, one.size) for one in file if one.isreg()]
    mine = [(one.name.decode().rstrip("/"), one.begin, one.size) for one in found(raw)]
    assert mine == [(name.rstrip("/"), begin, size) for name, begin, size in expected]


SMALL = archive([("a" * 150 + ".cls", b"1"), ("b.txt", b"text" * 200)], tarfile.PAX_FORMAT)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_damage_is_found_or_does_no_harm(changes: list[tuple[int, int]], mend: bool) -> None:
    raw = bytearray(SMALL)
    for place, value in changes:
        raw[place] = value
        if mend:  # as if somebody had written it so
            header = place // BLOCK * BLOCK
            raw[header + 148 : header + 156] = b" " * 8
            raw[header + 148 : header + 156] = b"%06o\0 " % sum(raw[header : header + BLOCK])
    try:
        index_of(found(bytes(raw)), "a.tar")
    except ValueError as error:
        assert str(error).startswith("a.tar")  # noqa: PT017


@pytest.mark.parametrize("size", [b"-0000000005\0", b"9" * 12, b"\xff" * 12])
def test_sizes_that_cannot_be_are_an_error(size: bytes) -> None:
    raw = bytearray(archive([("b.txt", b"text")], tarfile.USTAR_FORMAT))
    raw[124:136] = size
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:BLOCK])
    with pytest.raises(ValueError, match=r"a\.tar: (it is no tar archive|it is truncated: member 'b\.txt')"):
        found(bytes(raw))


@pytest.mark.parametrize("record", [b"12 size=-100\n", b"11 size=x1\n\n", b"0 path=a\n", b"path=a\n", b"99 path=a\n"])
def test_pax_headers_that_cannot_be_are_an_error(record: bytes) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = b"x", len(record)
    raw = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(BLOCK, b"\0")
    with pytest.raises(ValueError, match=r"a\.tar: it is damaged"):
        found(raw + archive([("b.txt", b"text")], tarfile.USTAR_FORMAT))
