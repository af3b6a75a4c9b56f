"""Which modules a fresh interpreter can import, and so need not be sent to it.

A worker has main's ``sys.path`` and the finders that every interpreter of this installation has. What main has come by
in other ways (``spec_from_file_location``, a finder of its own, a ``__path__`` that was changed, pytest's importlib
mode, a module put together at run time) it cannot import, or it would get another file under the same name; and of a
file that was edited and not reloaded it would get the new code.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from datarax_mp.core.edits import is_edited, last_code_version
from datarax_mp.core.origin import file_of, is_installed
from datarax_mp.core.refusals import unless_refused

_MAIN = ("__main__", "__mp_main__")  # the second is the main script's name in a process that multiprocessing spawned
_OURS = __name__.partition(".")[0]

_verdicts: dict[str, tuple[ModuleType, bool]] = {}
_path: list[str] = []  # that they hold for
_specs: dict[str, ModuleSpec | None] = {}
_as_of = (0, 0)  # how many modules there were when ``_unknown`` was made, and the version of the code
_unknown: tuple[str, ...] = _MAIN


def importable(name: str) -> bool:
    """Whether a worker that imports ``name`` gets the module that this process has under it.

    >>> importable("json"), importable("__main__"), importable("no_such_module")
    (True, False, False)
    """
    if name in _MAIN or is_edited(name) or (module := sys.modules.get(name)) is None:
        return False
    if sys.path != _path:
        _path[:] = sys.path
        _verdicts.clear()
        _specs.clear()
    known = _verdicts.get(name)
    if known is None or known[0] is not module:
        _specs.pop(name, None)  # it may have failed when the file was not there yet
        known = _verdicts[name] = (module, _importable(name, module))
    return known[1]


def unknown_to_workers() -> tuple[str, ...]:
    """The names of all modules of this process that a worker cannot import; quick where none has been added."""
    global _as_of, _unknown
    now = (len(sys.modules), last_code_version())
    if now != _as_of or sys.path != _path:
        names = [name for name, module in list(sys.modules.items()) if isinstance(module, ModuleType)]
        _unknown = (*_MAIN, *(name for name in names if name not in _MAIN and not importable(name)))
        _as_of = now
    return _unknown


def _importable(name: str, module: ModuleType) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == _OURS:
        return True
    file = file_of(module)
    if file is None:
        # Without a file inside a package that can be imported: the package makes it, as torch makes torch.ops.
        return _found(top) is not None
    if is_installed(file):
        return True
    spec = _found(name)
    if spec is not None and spec.origin is not None:
        return _same_file(spec.origin, file)
    return _extends_its_path(name)


def _found(name: str) -> ModuleSpec | None:
    """What a fresh interpreter would import under this name; asks for no more than the file system."""
    if name not in _specs:
        _specs[name] = _find(name)
    return _specs[name]


def _find(name: str) -> ModuleSpec | None:
    package = name.rpartition(".")[0]
    if not package:
        finders: list[Any] = [BuiltinImporter, FrozenImporter, PathFinder, *_editable_finders()]
        for finder in finders:
            if (spec := finder.find_spec(name, None)) is not None:
                return spec
        return None
    parent = _found(package)
    if parent is None or parent.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, parent.submodule_search_locations)


def _editable_finders() -> list[Any]:
    """Those that installing a package in editable mode adds to every interpreter."""
    return [finder for finder in sys.meta_path if "editable" in str(getattr(finder, "__module__", ""))]


def _extends_its_path(name: str) -> bool:
    """Whether a package that can be imported changes its ``__path__`` itself, as it then does in a worker, too."""
    package = name.rpartition(".")[0]
    spec = _found(package) if package else None
    if spec is None or spec.origin is None:
        return False
    return b"__path__" in unless_refused(Path(spec.origin).read_bytes, b"")


def _same_file(one: str, other: str) -> bool:
    return one == other or unless_refused(lambda: os.path.samefile(one, other), False)  # inside an archive, say
