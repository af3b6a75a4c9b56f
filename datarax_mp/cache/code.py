"""What of functions, classes and modules decides what they do, as values that can be hashed.

The user's: their code, and whatever they refer to or import when they run; of a module that nobody has imported yet,
its file. What is installed: its name, and the package's version. This package's own: all of its code together.
"""

from __future__ import annotations

import functools
import os
import sys
import types
import typing
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from datarax_mp.cache.imports import Unimported, find, imported_by
from datarax_mp.core.origin import file_of, is_installed
from datarax_mp.core.strays import is_from_handler

_OURS = __name__.partition(".")[0]
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DECODERS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "pillow", "simplejpeg")

Parts: TypeAlias = list[tuple[str, Any]]


class Part(NamedTuple):
    """A module of the user's, as far as somebody refers to it."""

    module: types.ModuleType
    names: tuple[str, ...]


def parts_of(value: Any) -> Parts | None:
    """What a function, a class, a module or their like consists of, by names for messages; None of all else."""
    if isinstance(value, types.CodeType):
        return _of_code(value)
    if isinstance(value, types.ModuleType):
        return [("", _named(value.__name__))]
    if isinstance(value, Part):
        return list(_of_part(value))
    if isinstance(value, Unimported):
        return list(_of_unimported(value))
    if isinstance(value, types.MethodType):
        return [("", value.__func__), ("its object", value.__self__)]
    if isinstance(value, functools.partial):
        return [("", value.func), ("arguments", list(value.args)), ("arguments", dict(value.keywords))]
    if isinstance(value, (staticmethod, classmethod)):
        return [("", value.__func__)]
    if isinstance(value, property):
        return [("", value.fget)]
    if isinstance(value, functools.cached_property):
        return [("", value.func)]
    if isinstance(value, types.FunctionType):
        return _by_name(value) or list(_of_function(value))
    if isinstance(value, type):
        return _by_name(value) or list(_of_class(value))
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        own = [] if owner is None or isinstance(owner, types.ModuleType) else [("its object", owner)]
        return [("", f"{value.__module__} {value.__qualname__}"), *own]
    if isinstance(value, (types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType)):
        return [("", f"{value.__objclass__.__module__} {value.__qualname__}")]
    if isinstance(value, (types.MemberDescriptorType, typing.TypeVar, types.GenericAlias)):
        return [("", repr(value))]
    wrapped = getattr(value, "__wrapped__", None) if callable(value) else None  # of functools.lru_cache, and many more
    wrapped = wrapped or getattr(value, "py_func", None)  # of numba
    if isinstance(wrapped, types.FunctionType):
        return [("", type(value).__qualname__), ("", wrapped)]
    return None


@functools.cache
def our_code() -> str:
    """A hash of this package's code, and the versions of what it decodes with."""
    import hashlib
    from importlib import metadata

    hashed = hashlib.blake2b(digest_size=16)
    for folder, folders, files in os.walk(_HERE):
        folders.sort()
        for name in sorted(file for file in files if file.endswith(".py")):
            with open(os.path.join(folder, name), "rb") as file:
                hashed.update(file.read())
    for name in _DECODERS:
        try:
            hashed.update(f"{name} {metadata.version(name)}".encode())
        except metadata.PackageNotFoundError:
            continue
    return hashed.hexdigest()


def _by_name(value: Any) -> Parts | None:
    """A function or class that somebody has installed; its code is its package's."""
    module = sys.modules.get(value.__module__ or "")
    if module is None or not _is_installed(module):
        return None
    return [("", f"{_named(module.__name__)} {value.__qualname__}")]


def _is_installed(module: types.ModuleType) -> bool:
    top = module.__name__.partition(".")[0]
    if top == _OURS or (top in sys.stdlib_module_names and top != "__main__"):
        return True
    file = file_of(module)
    return module.__name__ not in ("__main__", "__mp_main__") and (file is None or is_installed(file))


def _named(name: str) -> str:
    """A module's name, with its package's version, or else its file's size and time."""
    top = name.partition(".")[0]
    if top == _OURS or top in sys.stdlib_module_names:
        return name
    module = sys.modules.get(top)
    version = getattr(module, "__version__", None)
    if version is None and module is not None and (file := file_of(module)) is not None and os.path.exists(file):
        status = os.stat(file)
        version = f"{status.st_size} {status.st_mtime_ns}"
    return f"{name} {version}"


def _of_code(code: types.CodeType) -> Parts:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [("", [code.co_code, code.co_exceptiontable, counts, names, code.co_consts])]


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    name, code = function.__name__, function.__code__
    yield "", code
    yield f"defaults of {name}", [function.__defaults__, function.__kwdefaults__]
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{name}, variable '{variable}'", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    names = tuple(dict.fromkeys(names_in(code)))
    for variable in names:
        if variable in function.__globals__:
            found = function.__globals__[variable]
            yield variable, ""
            yield f"{name}, global '{variable}'", _referred(found, names)
    for module in _found(imported_by(code, function.__globals__.get("__package__") or ""), names):
        yield f"{name}, import", module
    for attribute, found in sorted(vars(function).items()):
        yield f"{name}.{attribute}", found


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    yield "", kind.__qualname__
    for base in kind.__bases__:
        yield "", base
    for name, found in sorted(vars(kind).items()):
        special = name.startswith("__") and name.endswith("__")
        if (special and not isinstance(found, (types.FunctionType, staticmethod, classmethod))) or name == "_abc_impl":
            continue
        yield "", name
        yield f"{kind.__name__}.{name}", found


def _of_part(part: Part) -> Iterator[tuple[str, Any]]:
    for name in part.names:
        if name in vars(part.module):
            yield "", name
            yield f"{part.module.__name__}.{name}", _referred(vars(part.module)[name], part.names)


def _of_unimported(module: Unimported) -> Iterator[tuple[str, Any]]:
    content = module.content()
    yield module.name, content
    names, modules = _of_source(content, module.file, module.package)
    for other in _found(modules, names):
        yield f"{module.name}, import", other


@functools.lru_cache(maxsize=1024)
def _of_source(content: bytes, file: str, package: str) -> tuple[Sequence[str], Sequence[str]]:
    """The names in a file, and the modules that it imports; none where it is not Python: importing it will say so."""
    if not file.endswith(".py"):
        return (), ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when it is imported
        try:
            code = compile(content, file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            if is_from_handler():
                raise
            return (), ()
    return tuple(dict.fromkeys(names_in(code))), tuple(dict.fromkeys(imported_by(code, package)))


def _found(modules: Iterable[str], names: Sequence[str]) -> Iterator[Part | Unimported]:
    """The user's modules among some; of one that has been imported, what names in the same code take out of it."""
    for name in modules:
        for found in find(name):
            if isinstance(found, Unimported):
                yield found
            elif not _is_installed(found):
                yield _part(found, tuple(names))


def _referred(found: Any, names: tuple[str, ...]) -> Any:
    """What a name stands for; of a module of the user's, what the same code takes out of it."""
    return _part(found, names) if isinstance(found, types.ModuleType) and not _is_installed(found) else found


@functools.lru_cache(maxsize=4096)
def _part(module: types.ModuleType, names: tuple[str, ...]) -> Part:
    """The same one every time, so that modules which refer to each other come to an end."""
    return Part(module, names)


def names_in(code: types.CodeType) -> Iterator[str]:
    """The names of globals and attributes in some code."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)
