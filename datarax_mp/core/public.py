"""Names that a package offers and that are imported when they are first used.

So ``import datarax_mp`` loads neither JAX nor whatever else a name needs, nor does a worker, which imports some modules
of some packages. A package that offers names imports them for type checkers, and says else where each of them is:

    if TYPE_CHECKING:
        from datarax_mp.core.element_batch import Batch as Batch
    else:
        from datarax_mp.core.public import offer

        _HOME = {"Batch": "core.element_batch"}
        __getattr__, __dir__, __all__ = offer(__name__, _HOME)

A test compares the two lists.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

ROOT = __name__.partition(".")[0]


def offer(
    package: str, home: Mapping[str, str], *own: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """A package's ``__getattr__``, ``__dir__`` and ``__all__``.

    Args:
        package: its name.
        home: for each name that it offers the module that has it, seen from ``datarax_mp``.
        own: names of what is in the package itself.
    """
    names = sorted([*home, *own])

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{ROOT}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: names, names
