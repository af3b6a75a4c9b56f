"""Files that a user's object holds open for reading are opened anew by every worker.

Each worker so has a position of its own, which processes that inherit one open file do not. cloudpickle would read a
text file whole and send its text, in which positions count characters instead of bytes.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
import sys
from collections.abc import Callable
from typing import Any

from datarax_mp.core.refusals import unless_refused

_LOOKED_AT = 1 << 16  # bytes of a file, for the kind of its line ends
_KINDS = (io.TextIOWrapper, io.BufferedReader, io.FileIO)


def reducer_for(kind: type) -> Callable[[Any], Any] | None:
    """How objects of this type are reduced, or None if it is no open file."""
    return _reduce if kind in _KINDS else None


def _reduce(file: Any) -> Any:
    if file in (sys.stdout, sys.stderr):
        return NotImplemented
    raw = _raw(file)
    if raw is None or raw.closed or raw.mode != "rb" or not isinstance(raw.name, (str, bytes, os.PathLike)):
        return _refused(file)
    path = os.path.abspath(os.fspath(raw.name))
    found = os.fstat(raw.fileno())
    there = unless_refused(lambda: os.stat(path), None)
    if there is None or not os.path.samestat(found, there) or not stat.S_ISREG(found.st_mode):
        return _refused(file)
    text = None
    if isinstance(file, io.TextIOWrapper):
        text = {"encoding": file.encoding, "errors": file.errors, "newline": _newline(file, path)}
    buffering = 0 if isinstance(file, io.FileIO) else -1
    return _reopened, (path, (found.st_dev, found.st_ino), buffering, text, file.tell())


def _reopened(path: Any, identity: tuple[int, int], buffering: int, text: dict[str, Any] | None, position: int) -> Any:
    file: Any = open(path, "rb" if text is None else "r", buffering, **(text or {}))  # noqa: SIM115  # it is the user's
    found = os.fstat(file.fileno())
    if (found.st_dev, found.st_ino) != identity:
        file.close()
        raise OSError(
            f"{path} was replaced by another file of the same name after the pipeline had begun; open it anew"
        )
    file.seek(position)
    return file


def _raw(file: Any) -> Any:
    """The file beneath its buffer and its encoding, or None if something else is there."""
    for _ in range(2):
        if isinstance(file, io.TextIOWrapper):
            file = file.buffer
        elif isinstance(file, io.BufferedReader):
            file = file.raw
    return file if type(file) is io.FileIO else None


def _newline(file: io.TextIOWrapper, path: Any) -> str | None:
    """Whether a text file was opened with ``newline=""``, which it does not say, as far as that makes a difference."""
    with open(path, "rb") as raw:
        if b"\r" not in raw.read(_LOOKED_AT):
            return None
    position = file.tell()
    file.seek(0)
    kept = "\r" in file.read(_LOOKED_AT)
    file.seek(position)
    return "" if kept else None


def _refused(file: Any) -> Any:
    if isinstance(file, io.TextIOWrapper):  # which cloudpickle would not refuse
        raise pickle.PicklingError(f"a file that is closed, not open for reading alone, or has no name: {file!r}")
    return NotImplemented
