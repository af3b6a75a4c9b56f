"""Where modules come from."""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType


def file_of(module: ModuleType) -> str | None:
    """The file that a module was made of, or None if there is none.

    >>> file_of(os) == os.__file__, file_of(sys)
    (True, None)
    """
    spec = getattr(module, "__spec__", None)
    file = (spec.origin if spec is not None and spec.has_location else None) or getattr(module, "__file__", None)
    # torch.ops, which torch makes itself, says "_ops.py".
    return file if isinstance(file, str) and os.path.isabs(file) else None


def is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package, rather than to what the user works on.

    >>> is_installed(os.__file__), is_installed("/home/me/train.py")
    (True, False)
    """
    return file.startswith(_installed())


_LIBRARIES = ("site-packages", "dist-packages", "lib-dynload")


@functools.cache
def _installed() -> tuple[str, ...]:
    # Not by ``sysconfig``, whose import takes each of the workers that start 4 ms.
    folders = {os.path.dirname(os.__file__)}
    folders |= {entry for entry in sys.path if os.path.basename(entry) in _LIBRARIES}
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(os.path.join(folder, "") for folder in folders)
