"""Indexes of files: kept, found again, and made anew where they are of no use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from datarax_mp.formats.indexes import LEAST_BYTES, indexed
from datarax_mp.formats.pieces import Stamp


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"12345")
    return path


def make(path: str) -> dict[str, np.ndarray]:
    return {"at": np.arange(len(Path(path).read_bytes()))}


def fail(path: str) -> dict[str, np.ndarray]:
    raise AssertionError("it was kept")


def test_it_holds_for_the_size_and_time_of_the_file_and_for_its_kind(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    stamp, index = indexed(str(data), "a", folder, make)
    assert stamp == Stamp.of(str(data))
    assert index["at"].tolist() == indexed(str(data), "a", folder, fail)[1]["at"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(AssertionError, match="it was kept"):
        indexed(str(data), "b", folder, fail)
    os.utime(data, ns=(0, 0))
    with pytest.raises(AssertionError, match="it was kept"):
        indexed(str(data), "a", folder, fail)
    data.write_bytes(b"12")
    assert len(indexed(str(data), "a", folder, make)[1]["at"]) == 2
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"text", None])
def test_a_damaged_index_is_made_anew(data: Path, tmp_path: Path, damage: bytes | None) -> None:
    folder = tmp_path / "kept"
    indexed(str(data), "a", folder, make)
    [kept] = folder.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-50] if damage is None else damage)
    assert len(indexed(str(data), "a", folder, make)[1]["at"]) == 5
    assert len(indexed(str(data), "a", folder, fail)[1]["at"]) == 5


def test_where_none_can_be_kept_it_is_made_every_time(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert len(indexed(str(data), "a", tmp_path / "file", make)[1]["at"]) == 5


def test_what_is_raised_while_one_is_written_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **arrays: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stop)
    with pytest.raises(KeyboardInterrupt):
        indexed(str(data), "a", tmp_path / "kept", make)
    assert not list((tmp_path / "kept").iterdir())


def test_of_large_files_it_is_kept_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for size in (LEAST_BYTES - 1, LEAST_BYTES):
        with open(tmp_path / "large", "wb") as file:
            file.truncate(size)
        indexed(str(tmp_path / "large"), "a", None, lambda path: {"at": np.arange(3)})
        assert len(list(tmp_path.glob("cache/datarax_mp/indexes/large-*.npz"))) == (size == LEAST_BYTES)


def test_a_file_that_is_being_written_is_an_error(data: Path) -> None:
    def write(path: str) -> dict[str, np.ndarray]:
        Path(path).write_bytes(b"123456")
        return {}

    with pytest.raises(OSError, match="it is being written"):
        indexed(str(data), "a", None, write)
