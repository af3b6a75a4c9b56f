"""What a function imports when it runs counts, as far as it is the user's."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from datarax_mp.cache.fingerprint import fingerprint

ROOM = "room_of_user"
STAGE = f"""
def taken(record):
    from {ROOM}.helpers import clean
    return clean(record)

def whole(record):
    import {ROOM}.helpers as helpers
    return helpers.clean(record)

def dotted(record):
    import {ROOM}.helpers
    return {ROOM}.helpers.clean(record)

def module(record):
    from {ROOM} import helpers
    return helpers.clean(record)

def relative(record):
    from .helpers import clean
    return clean(record)

def within(record):
    def inner():
        from . import helpers
        return helpers.clean(record)
    return inner()
"""
HELPERS = """
from .base import SCALE
def clean(record): return record * SCALE * {factor}
"""
WAYS = ["taken", "whole", "dotted", "module", "relative", "within"]


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == ROOM]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / ROOM).mkdir()
    yield tmp_path / ROOM
    forget()


def stage(room: Path, *, factor: int = 2, scale: int = 3) -> ModuleType:
    """The user's module with the stages, imported anew, but not those that the stages import."""
    (room / "stage.py").write_text(STAGE)
    (room / "helpers.py").write_text(HELPERS.format(factor=factor))
    (room / "base.py").write_text(f"SCALE = {scale}\ndef late(): from . import helpers")
    forget()
    return importlib.import_module(f"{ROOM}.stage")


def of(value: Any) -> str:
    return fingerprint({"value": value})


@pytest.mark.parametrize("way", WAYS)
def test_a_module_that_is_not_imported_yet_counts_by_its_file_and_by_what_that_imports(room: Path, way: str) -> None:
    found = [of(getattr(stage(room, factor=f, scale=s), way)) for f, s in itertools.product((2, 4), (3, 5))]
    assert len({*found}) == 4
    assert of(getattr(stage(room), way)) == found[0]
    assert f"{ROOM}.helpers" not in sys.modules


@pytest.mark.parametrize("way", WAYS)
def test_a_module_that_is_imported_counts_by_what_is_taken_out_of_it(
    room: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stage(room)
    helpers = importlib.import_module(f"{ROOM}.helpers")
    before = of(getattr(module, way))
    monkeypatch.setattr(helpers, "unused", 3, raising=False)
    assert of(getattr(module, way)) == before
    monkeypatch.setattr(helpers, "SCALE", 4)
    assert of(getattr(module, way)) != before


def test_what_is_installed_or_is_not_there_is_passed_over() -> None:
    def stage(record: Any) -> Any:
        import json

        import no_such_module
        import numpy.linalg
        import pip

        return json, numpy.linalg, no_such_module, pip

    assert of(stage) == of(stage)


def test_a_file_that_is_no_python_counts_by_its_bytes(room: Path) -> None:
    module = stage(room)
    found = set()
    for text in ("this is no Python", "nor is this", b"\0".decode()):
        (room / "helpers.py").write_text(text)
        found.add(of(module.taken))
    assert len(found) == 3
