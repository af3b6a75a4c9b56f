"""Open handles count by the data that they give, and what gives none does not."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import itertools
import lzma
import mmap
import os
import sqlite3
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from datarax_mp.cache.fingerprint import FingerprintError, fingerprint


class Source:
    """A source that differs from others of its kind in nothing but what it holds open."""

    def __init__(self, file: Any) -> None:
        self.file = file


def of(value: Any) -> str:
    return fingerprint({"value": value})


def write_file(path: Path, text: bytes) -> None:
    path.write_bytes(text)


def write_zip(path: Path, text: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", text)


def write_tar(path: Path, text: bytes, mode: Any = "w") -> None:
    with tarfile.open(path, mode) as archive:
        member = tarfile.TarInfo("a")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))


def write_hdf5(path: Path, text: bytes) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = file["y"] = np.frombuffer(text, np.uint8)


def write_database(path: Path, text: bytes) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE x (a BLOB)")
    connection.execute("INSERT INTO x VALUES (?)", (text,))
    connection.commit()
    connection.close()


def mapped(path: Path) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


KINDS: dict[str, tuple[Callable[[Path, bytes], None], Callable[[Path], Any]]] = {
    "bytes": (write_file, functools.partial(open, mode="rb")),
    "text": (write_file, open),
    "unbuffered": (write_file, functools.partial(open, mode="rb", buffering=0)),
    "read and write": (write_file, functools.partial(open, mode="r+b")),
    "mmap": (write_file, mapped),
    "zip": (write_zip, zipfile.ZipFile),
    "tar": (write_tar, tarfile.open),
    "tar.gz": (functools.partial(write_tar, mode="w:gz"), tarfile.open),
    "gzip": (
        lambda path, text: write_file(path, gzip.compress(text, mtime=0)),
        functools.partial(gzip.open, mode="rt"),
    ),
    "bz2": (lambda path, text: write_file(path, bz2.compress(text)), bz2.open),
    "lzma": (lambda path, text: write_file(path, lzma.compress(text)), lzma.open),
    "hdf5": (write_hdf5, lambda path: h5py.File(path, "r")),
    "sqlite": (write_database, sqlite3.connect),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_open_files_are_two_and_one_opened_twice_is_one(kind: str, tmp_path: Path) -> None:
    write, opened = KINDS[kind]
    for name in ("train", "test"):
        write(tmp_path / name, b"abc")
        os.utime(tmp_path / name, ns=(1, 1))
    handles = [opened(tmp_path / name) for name in ("train", "train", "test")]
    try:
        first, again, other = (of(Source(handle)) for handle in handles)
        assert first == again != other
        first, again, other = (of([handle]) for handle in handles)
        assert first == again != other
    finally:
        for handle in handles:
            handle.close()
    assert of(Source(handles[0])) == of(Source(None))


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_file_that_has_changed_is_another(kind: str, tmp_path: Path) -> None:
    write, opened = KINDS[kind]
    write(tmp_path / "a", b"abc")
    handle = opened(tmp_path / "a")
    try:
        before = of(Source(handle))
        os.utime(tmp_path / "a", ns=(1, 1))
        assert of(Source(handle)) != before
    finally:
        handle.close()


def test_how_far_a_file_has_been_read_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo")
    with open(tmp_path / "a") as file:
        before = of(Source(file))
        file.readline()
        assert of(Source(file)) == before


def test_a_file_that_was_replaced_under_its_name_is_another(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("abc")
        os.utime(tmp_path / name, ns=(1, 1))
    with open(tmp_path / "a", "rb") as old:
        os.replace(tmp_path / "b", tmp_path / "a")
        with open(tmp_path / "a", "rb") as new:
            assert of(Source(old)) != of(Source(new))


def test_what_is_in_memory_counts_by_its_content() -> None:
    def database(text: str) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:")
        connection.executescript(f"CREATE TABLE x (a TEXT); INSERT INTO x VALUES ('{text}')")
        return connection

    def archive(text: bytes) -> zipfile.ZipFile:
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as made:
            made.writestr(zipfile.ZipInfo("a"), text)
        return zipfile.ZipFile(memory)

    def anonymous(text: bytes) -> mmap.mmap:
        memory = mmap.mmap(-1, 4096)
        memory.write(text)
        return memory

    def hdf5(text: bytes) -> h5py.File:
        file = h5py.File(f"no such file {next(numbers)}", "w", driver="core", backing_store=False)
        file.create_dataset("x", data=np.frombuffer(text, np.uint8), track_times=False)
        return file

    numbers = itertools.count()
    for make in (io.BytesIO, lambda text: io.StringIO(text.decode()), archive, anonymous, hdf5):
        one, same, other = (make(text) for text in (b"a", b"a", b"b"))
        assert of(Source(one)) == of(Source(same)) != of(Source(other))
        one.close(), same.close(), other.close()
    one, same, other = map(database, ("a", "a", "b"))
    assert of(Source(one)) == of(Source(same)) != of(Source(other))
    assert of(Source(one.cursor())) == of(Source(same.cursor())) != of(Source(other.cursor()))
    for connection in (one, same, other):
        connection.close()


def test_two_data_sets_of_one_file_are_two(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a", b"abc")
    with h5py.File(tmp_path / "a", "r") as file:
        assert len({of(Source(file)), of(Source(file["x"])), of(Source(file["y"]))}) == 3
        assert of(Source(file["x"])) == of(Source(file["x"]))


def test_what_is_only_written_to_and_locks_do_not_count(tmp_path: Path) -> None:
    nothing = of(Source(None))
    with (
        open(tmp_path / "a", "w") as text,
        open(tmp_path / "b", "ab") as data,
        gzip.open(tmp_path / "c", "w") as packed,
    ):
        assert {of(Source(handle)) for handle in (text, data, packed, text.buffer.raw)} == {nothing}
    with zipfile.ZipFile(tmp_path / "d", "w") as archive, tarfile.open(tmp_path / "e", "w") as tar:
        assert {of(Source(handle)) for handle in (archive, tar, threading.RLock(), threading.Event())} == {nothing}


def test_a_stream_that_has_handed_over_what_it_read_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    with open(tmp_path / "a", "rb") as inner:
        file = io.TextIOWrapper(inner)
        assert of(Source(file)) != of(Source(None))
        file.detach()
        assert of(Source(file)) == of(Source(None)) != of(Source(inner))


def test_what_cannot_be_read_again_is_an_error_that_names_it() -> None:
    read, write = os.pipe()
    with (
        open(read, "rb") as file,
        open(write, "wb"),
        pytest.raises(FingerprintError, match=r"value\.file.*__getstate__"),
    ):
        of(Source(file))


def test_a_database_of_another_thread_is_an_error_that_names_it() -> None:
    made: list[sqlite3.Connection] = []

    def own() -> None:
        made.append(sqlite3.connect(":memory:"))
        ready.set()
        asked.wait()
        made[0].close()

    ready, asked = threading.Event(), threading.Event()
    thread = threading.Thread(target=own)
    thread.start()
    try:
        ready.wait()
        with pytest.raises(FingerprintError, match=r"value\.file.*thread"):
            of(Source(made[0]))
    finally:
        asked.set()
        thread.join()


def test_a_row_of_a_database_counts_by_its_values() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    one, same, other = (connection.execute(f"SELECT {value} AS a").fetchone() for value in (1, 1, 2))
    connection.close()
    assert of([one]) == of([same]) != of([other])


def test_members_of_archives_count_by_what_they_say(tmp_path: Path) -> None:
    write_zip(tmp_path / "a", b"abc")
    write_zip(tmp_path / "b", b"abcdef")
    found = []
    for name in ("a", "a", "b"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            found.append(of(archive.infolist()))
    assert found[0] == found[1] != found[2]
