"""What is public: where a name can be imported from, for programs and for type checkers."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import datarax_mp

PACKAGES = pkgutil.iter_modules(datarax_mp.__path__)
FOLDERS = ["datarax_mp", *(f"datarax_mp.{name}" for _, name, is_folder in PACKAGES if is_folder)]
OFFERING = [folder for folder in FOLDERS if hasattr(importlib.import_module(folder), "__all__")]


def for_type_checkers(package: str) -> dict[str, str]:
    """The names that a package imports, each with its module."""
    tree = ast.parse(Path(str(importlib.import_module(package).__file__)).read_text())
    return {
        alias.asname: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }


@pytest.mark.parametrize("package", OFFERING)
def test_type_checkers_see_what_programs_get(package: str) -> None:
    module = importlib.import_module(package)
    seen = for_type_checkers(package)
    assert {*seen, "__version__"} == {*module.__all__, "__version__"}
    for name, home in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)
    assert dir(module) == module.__all__ == sorted(module.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_every_public_name_can_be_imported_from_its_folder_too() -> None:
    homes = for_type_checkers("datarax_mp")
    for name, home in homes.items():
        folder = ".".join(home.split(".")[:2])
        assert getattr(importlib.import_module(folder), name) is getattr(datarax_mp, name)


def test_importing_a_folder_imports_no_jax(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\n"
        + "".join(f"import {folder}\n" for folder in FOLDERS)
        + "from datarax_mp.stages import MapElement, Pad\n"
        + "from datarax_mp.core import RecordError, WorkerError\n"
        + "assert not {'jax', 'flax', 'orbax'} & set(sys.modules)\n"
        + "from datarax_mp.core import *\n"
        + "assert issubclass(RecordMetadata, Metadata)\n"
    )
