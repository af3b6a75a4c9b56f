"""Stamps of files and folders: others when something in them has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datarax_mp.cache import stamps
from datarax_mp.cache.errors import FingerprintError
from datarax_mp.cache.stamps import stamp


def of(path: Path) -> bytes:
    return stamp(os.fsencode(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "inner/c"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, ns=(1, 1))
    return tmp_path / "data"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "d").touch(),
        lambda folder: (folder / "inner" / "d").touch(),
        lambda folder: (folder / "a").unlink(),
        lambda folder: (folder / "a").rename(folder / "d"),
        lambda folder: (folder / "inner").rename(folder / "other"),
        lambda folder: os.utime(folder / "inner" / "c", ns=(2, 2)),
    ],
)
def test_a_folder_is_another_when_anything_in_it_has_changed(folder: Path, change: Callable[[Path], None]) -> None:
    before = of(folder)
    assert before
    assert of(folder) == before
    change(folder)
    assert of(folder) != before


def test_what_changes_by_being_used_does_not_count(folder: Path) -> None:
    before = of(folder)
    for name in (".git/index", "__pycache__/a.pyc", f"cache/{32 * 'a'}/lock", f"cache/{32 * 'b'}.gone-c/x.data"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
        assert of(folder) == before
    (folder / (32 * "c")).mkdir()
    (folder / (32 * "c") / "data").touch()
    assert of(folder) != before


def test_links_are_followed_and_a_circle_comes_to_its_end(folder: Path, tmp_path: Path) -> None:
    (folder / "inner" / "circle").symlink_to(folder)
    (tmp_path / "other").mkdir()
    (folder / "link").symlink_to(tmp_path / "other")
    (folder / "nowhere").symlink_to(tmp_path / "no such file")
    before = of(folder)
    assert of(folder) == before
    (tmp_path / "other" / "new").touch()
    assert of(folder) != before


def test_what_is_not_there_has_no_stamp(tmp_path: Path) -> None:
    assert of(tmp_path / "a") == b"" == stamp(b"s3://bucket/train.zarr")


def test_a_folder_of_very_many_files_is_an_error_that_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "MOST_FILES", 3)
    assert of(folder)
    (folder / "inner" / "d").touch()
    with pytest.raises(FingerprintError, match=r"more than 3 files.*data_files\(\)"):
        of(folder)
