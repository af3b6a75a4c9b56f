"""The cache folder: its bound, and that whatever dies leaves nothing in it that is taken for read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Storage
from datarax_mp.storage.entry import PART, Entry, create
from datarax_mp.storage.listing import find_remote
from datarax_mp.storage.reading import here, opened, read_remote
from datarax_mp.storage.remote import Remote
from tests.storage.server import Files, serving

SIZE = 3 * PART + 1000


@pytest.fixture
def files() -> Iterator[Files]:
    with serving() as found:
        yield found


def content(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(SIZE)


def remotes(files: Files, storage: Storage, number: int) -> list[Remote]:
    urls = [files.put(f"/{n}.bin", content(n)) for n in range(number)]
    return [file for [file] in find_remote(urls, ".bin", storage)]


def taken(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*/data"))


def test_what_was_used_least_recently_makes_room(files: Files, tmp_path: Path) -> None:
    storage = Storage(cache_folder=tmp_path, cache_bytes=3 * SIZE + PART)
    some = remotes(files, storage, 5)
    for place, file in enumerate(some):
        read_remote(file, 0, SIZE)
        os.utime(tmp_path / file.key / "have", (place, place))
    kept = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert kept == {file.key for file in some[2:]}
    assert taken(tmp_path) <= 3 * SIZE + PART
    for file in some:  # those that were taken out are read anew
        assert read_remote(file, 10, SIZE - 10).tobytes() == files.content["/" + file.rpartition("/")[2]][10:-10]


def test_a_file_that_somebody_has_open_as_a_whole_stays_and_one_that_was_opened_can_be_read(
    files: Files, tmp_path: Path
) -> None:
    storage = Storage(cache_folder=tmp_path, cache_bytes=0)
    first, second, third, fourth = remotes(files, storage, 4)
    with here(first) as name:
        mapped = np.memmap(name, np.uint8, "r")
        with here(second), here(third):
            assert Path(name).read_bytes() == content(0)
    with here(second) as name, here(fourth):
        assert Path(name).read_bytes() == content(1)
    assert not (tmp_path / first.key).exists()
    assert mapped.tobytes() == content(0)


def test_an_open_file_reads_as_any_other(files: Files, tmp_path: Path) -> None:
    [file] = remotes(files, Storage(cache_folder=tmp_path), 1)
    with opened(file) as reading:
        assert reading.seek(-10, os.SEEK_END) == SIZE - 10
        assert reading.read() == content(0)[-10:]
        assert reading.read() == b""
        reading.seek(5)
        assert reading.read(PART) == content(0)[5 : PART + 5]
        assert reading.tell() == PART + 5
    with pytest.raises(OSError, match=f"expected bytes up to {SIZE + 1:,}, found the end of the file at {SIZE:,}"):
        read_remote(file, 0, SIZE + 1)


def test_what_was_written_but_not_marked_is_not_there(tmp_path: Path) -> None:
    create(str(tmp_path / "entry"), SIZE)
    entry = Entry(str(tmp_path / "entry"), SIZE)
    assert entry.missing(0, SIZE).tolist() == [0, 1, 2, 3]
    entry.write(PART, bytes(PART))
    assert entry.missing(0, SIZE).tolist() == [0, 1, 2, 3]
    entry.mark([1])
    assert entry.missing(0, SIZE).tolist() == [0, 2, 3]
    assert entry.missing(PART, 2 * PART).tolist() == []
    assert entry.missing(PART - 1, PART).tolist() == [0]


KILLED = """
import os, signal, sys
import fsspec.implementations.http
from datarax_mp import Storage
from datarax_mp.storage.reading import here
from datarax_mp.storage.remote import Remote
sys.path.insert(0, {tests!r})
from lines import AtLine, Lines, count

OURS = Lines(in_frame=lambda frame: "datarax_mp/storage" in frame.f_code.co_filename, spares=lambda text: False)

def read(file, folder):
    with here(Remote(*file, Storage(cache_folder=folder, cache_bytes=0))):
        pass

def forked(work):
    if not (child := os.fork()):
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]

def total():
    lines = count(lambda: read({file!r}, {folder!r} + "/lines"), OURS)
    os.write(told[1], str(lines).encode())

def killed(line):
    folder = {folder!r} + f"/{{line}}"
    read({other!r}, folder)
    with AtLine(line, lambda: os.kill(os.getpid(), signal.SIGKILL), OURS):
        read({file!r}, folder)

told = os.pipe()
assert forked(total) == 0
lines = int(os.read(told[0], 100))
for place in range({places}):
    assert forked(lambda: killed(1 + place * (lines - 1) // {places})) == signal.SIGKILL
"""


def test_a_process_that_is_killed_at_any_line_leaves_nothing_that_is_wrong(
    files: Files, tmp_path: Path, run_script: Callable[..., Any]
) -> None:
    def whole(file: Remote, folder: Path) -> bytes:
        with here(Remote(str(file), file.size, file.tag, Storage(cache_folder=folder, cache_bytes=0))) as name:
            return Path(name).read_bytes()

    other, file = remotes(files, Storage(cache_folder=tmp_path), 2)
    about = [(str(each), each.size, each.tag) for each in (other, file)]
    tests = str(Path(__file__).parents[1])
    (tmp_path / "killed").mkdir()
    run_script(KILLED.format(tests=tests, other=about[0], file=about[1], folder=str(tmp_path / "killed"), places=30))
    folders = list((tmp_path / "killed").iterdir())
    assert len(folders) == 31
    for folder in folders:
        assert whole(file, folder) == content(1)
        assert whole(other, folder) == content(0)
        assert not list(folder.glob("*.part-*"))
