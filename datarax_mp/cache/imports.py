"""Which modules some code imports when it runs, and where those of the user's lie that nobody has imported yet."""

from __future__ import annotations

import dis
import importlib.util
import sys
import types
from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, NamedTuple

from datarax_mp.core.origin import file_of, is_installed
from datarax_mp.core.refusals import unless_refused
from datarax_mp.core.strays import is_from_handler

_IMPORT = dis.opmap["IMPORT_NAME"]
_KNOWN = (sys.stdlib_module_names - {"__main__"}) | {__name__.partition(".")[0]}


class Unimported(NamedTuple):
    """A module of the user's that is not imported.

    Attributes:
        name: its name.
        file: what it would be made of.
        package: what its relative imports start from.
    """

    name: str
    file: str
    package: str

    def content(self) -> bytes:
        """The file's bytes; none where it cannot be read: importing it will say so."""
        return unless_refused(lambda: _read(self.file), b"")


def imported_by(code: types.CodeType, package: str) -> Iterator[str]:
    r"""The full names of the modules that some code imports, and of what may be one: ``a.b`` of ``from a import b``.

    >>> code = compile("def f():\n from a.b import c\n from .d import e", "", "exec")
    >>> list(imported_by(code, "package"))
    ['a.b', 'a.b.c', 'package.d', 'package.d.e']
    """
    if _IMPORT in code.co_code[::2]:
        constants: list[Any] = []
        for step in dis.get_instructions(code):
            if step.opcode == _IMPORT:
                level, taken = constants[-2:]
                yield from _named(step.argval, level, taken or (), package)
            elif step.opname.startswith("LOAD_"):
                constants.append(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from imported_by(constant, package)


def find(name: str) -> Iterator[types.ModuleType | Unimported]:
    """A module with the packages that it is in, as far as they are imported or are files of the user's.

    Nothing is imported for that. Of what is installed, or belongs to Python, there is nothing.

    >>> list(find("os.path")), list(find("numpy.linalg")), list(find("no_such_module"))
    ([], [], [])
    """
    if name.partition(".")[0] in _KNOWN:
        return
    folders: Any = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        full = ".".join(parts[:end])
        module = sys.modules.get(full)
        if module is not None:
            file = file_of(module)
            if file is not None and is_installed(file):
                return
            yield module
            folders = getattr(module, "__path__", ())
            continue
        spec = _spec(full, folders)
        if spec is None:
            return
        if spec.has_location and spec.origin is not None:
            if is_installed(spec.origin):
                return
            yield _unimported(full, spec.origin, spec.parent or "")
        folders = spec.submodule_search_locations or ()


def _named(name: str, level: int, taken: tuple[str, ...], package: str) -> Iterator[str]:
    try:
        full = importlib.util.resolve_name("." * level + name, package)
    except ImportError:  # so will it be when it runs
        return
    yield full
    yield from (f"{full}.{one}" for one in taken if one != "*")


def _spec(name: str, folders: Any) -> ModuleSpec | None:
    """How a module would be found; None if it would not."""
    if folders is not None:
        return PathFinder.find_spec(name, list(folders))
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        if is_from_handler():
            raise
        return None


def _read(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()


@lru_cache(maxsize=4096)
def _unimported(name: str, file: str, package: str) -> Unimported:
    """The same one every time, so that modules which import each other come to an end."""
    return Unimported(name, file, package)
