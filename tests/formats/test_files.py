"""Files by name, pattern and folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from datarax_mp.formats.files import find_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.x", "a.x", "c.y", "deep/d.x", "odd [1].x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_what_is_named_comes_in_that_order_and_what_is_found_in_the_order_of_names(folder: Path) -> None:
    def names(paths: Any) -> list[str]:
        return [os.path.relpath(file, folder) for file in find_files(paths, ".x")]

    assert names(folder / "c.y") == ["c.y"]
    assert names([folder / "b.x", str(folder / "a.x")]) == ["b.x", "a.x"]
    assert names(str(folder / "?.x")) == ["a.x", "b.x"]
    assert names(str(folder / "**" / "*.x")) == ["a.x", "b.x", "deep/d.x", "odd [1].x"]
    assert names(folder) == ["a.x", "b.x", "deep/d.x", "odd [1].x"]
    assert names(folder / "odd [1].x") == ["odd [1].x"]


def test_a_folder_that_is_named_like_a_file_is_none_and_a_link_to_nothing_is_one(folder: Path) -> None:
    (folder / "z.x").mkdir()
    (folder / "z.x" / "part.x").touch()
    (folder / "gone.x").symlink_to(folder / "nothing")
    names = [os.path.relpath(file, folder) for file in find_files(folder, ".x")]
    assert names == ["a.x", "b.x", "deep/d.x", "gone.x", "odd [1].x", "z.x/part.x"]


def test_paths_are_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert find_files("a.x", ".x") == [str(folder / "a.x")]


@pytest.mark.parametrize(
    ("paths", "kind", "message"),
    [
        ("nothing.x", FileNotFoundError, "found nothing there"),
        ("*.z", FileNotFoundError, "match this pattern, found none"),
        ("empty", FileNotFoundError, r"end in \.x in this folder, found none"),
        ([], ValueError, "an empty list"),
        ([3], TypeError, "found 3 of type int"),
    ],
)
def test_what_is_not_there_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, paths: Any, kind: Any, message: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    with pytest.raises(kind, match=message):
        find_files(paths, ".x")
