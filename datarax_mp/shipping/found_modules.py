"""Modules that workers find in a file only because they are told of it.

What main's functions refer to of modules that a worker cannot import travels by value. But such functions may also
import one another's modules while they run (``from . import helper`` in a plugin that was loaded from its file). For
that the worker is told which file main has loaded each of them from, and runs it when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TypeAlias

from datarax_mp.core.origin import file_of

Files: TypeAlias = dict[str, tuple[str, tuple[str, ...] | None]]
"""For each module its file and, if it is a package, where its modules are."""


def files_of(names: Iterable[str]) -> Files:
    """The files of those of this process's modules that have one.

    >>> files_of(["json", "no.such.module"])["json"][0].endswith("__init__.py")
    True
    """
    found: Files = {}
    for name in names:
        module = sys.modules.get(name)
        if name.startswith("__") or not isinstance(module, ModuleType) or (file := file_of(module)) is None:
            continue
        folders = getattr(module, "__path__", None)
        found[name] = (file, None if folders is None else tuple(folders))
    return found


class _Finder:
    """Asked last, when none of Python's own finders knows a module."""

    def __init__(self) -> None:
        self.files: Files = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.files:
            return None
        import importlib.util  # delayed: few workers come here

        file, folders = self.files[name]
        return importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=None if folders is None else list(folders)
        )


_finder = _Finder()


def find(files: Files) -> None:
    """From now on, find these modules in their files, and no longer those that were given before."""
    _finder.files = files
    if files and _finder not in sys.meta_path:
        sys.meta_path.append(_finder)  # type: ignore[arg-type]
