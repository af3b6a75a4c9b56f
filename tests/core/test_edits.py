"""Noticing that the user's code is no longer what it was."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from datarax_mp.core.edits import Edits


def write(path: Path, code: str) -> None:
    path.write_text(code)
    importlib.invalidate_caches()


def known() -> tuple[Edits, int]:
    edits = Edits()
    return edits, edits.look()


def test_nothing_changes_as_long_as_nothing_is_changed(folder: Path) -> None:
    write(folder / "mine.py", "x = 1")
    importlib.import_module("mine")
    edits, version = known()
    import colorsys

    assert colorsys
    assert edits.look() == version == 1
    assert not edits.edited


def test_a_reload_and_an_import_anew_are_other_code(folder: Path) -> None:
    write(folder / "mine.py", "x = 1")
    module = importlib.import_module("mine")
    edits, version = known()
    importlib.reload(module)
    assert edits.look() == version + 1
    del sys.modules["mine"]
    assert edits.look() == version + 2
    importlib.import_module("mine")
    assert edits.look() == version + 3  # a worker may have imported it earlier
    assert edits.look() == version + 3
    assert not edits.edited


def test_a_file_that_was_edited_and_not_reloaded_is_known_as_such(folder: Path) -> None:
    write(folder / "mine.py", "x = 1")
    module = importlib.import_module("mine")
    edits, version = known()
    write(folder / "mine.py", "x = 1000")
    assert edits.look() == version + 1
    assert "mine" in edits.edited
    importlib.reload(module)
    assert edits.look() == version + 2
    assert "mine" not in edits.edited


def test_so_is_one_that_was_edited_before_anybody_looked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(folder / "mine.py", "x = 1")
    write(folder / "other.py", "x = 1")
    importlib.import_module("mine")
    importlib.import_module("other")
    write(folder / "mine.py", "x = 1000")
    edits, _ = known()
    assert set(edits.edited) & {"mine", "other"} == {"mine"}


def test_a_file_that_has_gone_is_no_file_to_import(folder: Path) -> None:
    write(folder / "mine.py", "x = 1")
    importlib.import_module("mine")
    edits, version = known()
    (folder / "mine.py").unlink()
    assert edits.look() == version + 1
    assert "mine" in edits.edited
    assert os.path.exists(folder)
