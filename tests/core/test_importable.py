"""Which modules a fresh interpreter can import."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from datarax_mp.core.importable import importable, unknown_to_workers


def from_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(folder: Path, name: str, init: str = "") -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(init)
    return folder / name


def test_what_lies_on_the_path_is_and_what_was_loaded_from_elsewhere_is_not(folder: Path) -> None:
    (folder / "on_path.py").touch()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "hidden.py").touch()
    (folder / "elsewhere" / "on_path_too.py").touch()
    (folder / "on_path_too.py").touch()
    importlib.import_module("on_path")
    from_file("hidden", folder / "elsewhere" / "hidden.py")
    from_file("on_path_too", folder / "elsewhere" / "on_path_too.py")  # a worker would get the other one
    assert importable("on_path")
    assert not importable("hidden")
    assert not importable("on_path_too")
    assert {"hidden", "on_path_too", "__main__"} <= set(unknown_to_workers())
    assert "on_path" not in unknown_to_workers()


def test_nor_is_what_was_put_together_at_run_time(folder: Path) -> None:
    sys.modules["made"] = ModuleType("made")
    assert not importable("made")
    assert not importable("never_heard_of")


def test_a_package_may_extend_its_own_path_but_not_have_it_extended(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "part.py").touch()
    package(folder, "own", f"__path__.append({str(folder / 'more')!r})")
    package(folder, "plain")
    importlib.import_module("own.part")
    importlib.import_module("plain").__path__.append(str(folder / "more"))
    importlib.import_module("plain.part")
    assert importable("own.part")
    assert importable("plain")
    assert not importable("plain.part")


def test_a_namespace_package_and_a_module_of_an_archive_are(folder: Path) -> None:
    import zipfile

    (folder / "space").mkdir()
    (folder / "space" / "inner.py").touch()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("zipped.py", "")
    sys.path.insert(0, str(folder / "a.zip"))
    try:
        for name in ("space.inner", "zipped"):
            importlib.import_module(name)
            assert importable(name)
        assert importable("space")
    finally:
        sys.path.remove(str(folder / "a.zip"))
    assert not importable("zipped")  # the verdict goes with the path


def test_what_a_finder_of_the_users_own_finds_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "hooked.py").touch()

    class Finder:
        def find_spec(self, name: str, path: object = None, target: object = None) -> object:
            if name == "hooked":
                return importlib.util.spec_from_file_location(name, folder / "elsewhere" / "hooked.py")
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    importlib.import_module("hooked")
    assert not importable("hooked")


def test_python_and_the_packages_that_are_installed_all_are() -> None:
    import email.mime.text
    import os.path

    import numpy.lib.array_utils

    assert os.path and email.mime.text and numpy.lib.array_utils
    names = [
        name for name in sys.modules if name.partition(".")[0] in ("numpy", "os", "email", "cloudpickle", "pytest")
    ]
    assert len(names) > 50 and all(map(importable, names))
