"""Where the records of a file lie, worked out once and kept: a few arrays for each file.

An index is an .npz file, in the user's cache folder or in one that the user names. It is found by the data's path and
format, and holds for the size and time that the data had. Whoever writes one writes it whole: beside it, and then over
it. One that cannot be read or written is worked out, every time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.core.places import user_cache
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.files import AnyPath
from datarax_mp.formats.pieces import Stamp

log = logging.getLogger("datarax_mp")

Arrays: TypeAlias = dict[str, np.ndarray]

LEAST_BYTES = 16 << 20
"""Smaller files are indexed in a moment: what is kept of them is kept only where a folder is named."""


def indexed(path: str, kind: str, folder: AnyPath | None, make: Callable[[str], Arrays]) -> tuple[Stamp, Arrays]:
    """A file's index.

    Args:
        path: the file, absolute.
        kind: the format, and the version of its index.
        folder: where indexes are kept; None is the user's cache folder.
        make: works it out.

    Returns:
        The stamp of the file that it is of, and the arrays.

    Raises:
        Exception: what ``make`` raises.
        OSError: the file was changed meanwhile.
    """
    stamp = Stamp.of(path)
    place = _place(path, kind, folder) if folder is not None or stamp.size >= LEAST_BYTES else None
    if place is not None and (kept := _read(place, stamp)) is not None:
        return stamp, kept
    index = make(path)
    if Stamp.of(path) != stamp:
        raise OSError(f"{path}: it is being written: its size or time changed while it was indexed")
    if place is not None:
        _write(place, stamp, index)
    return stamp, index


def _place(path: str, kind: str, folder: AnyPath | None) -> str:
    found_by = hashlib.blake2b(f"{kind}\n{path}".encode(errors="surrogateescape"), digest_size=12).hexdigest()
    return os.path.join(user_cache("indexes", folder), f"{os.path.basename(path)[:100]}-{found_by}.npz")


def _read(place: str, stamp: Stamp) -> Arrays | None:
    try:
        # Opened here, because np.load leaves a damaged file open.
        with open(place, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if tuple(arrays["stamp"].tolist()) != tuple(stamp):
                return None
            return {name: arrays[name] for name in arrays.files if name != "stamp"}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if is_interruption(error):
            raise
        log.info("%s: this index is of no use, and is made anew: %r", place, error)
        return None


def _write(place: str, stamp: Stamp, index: Arrays) -> None:
    arrays: dict[str, Any] = {**index, "stamp": np.array(stamp, np.int64)}
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=".tmp", dir=os.path.dirname(place))
        try:
            with open(descriptor, "wb") as file:
                np.savez(file, **arrays)
            os.replace(name, place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        if is_interruption(error):
            raise
        log.info("%s: the index cannot be kept, and will be made anew by others: %s", place, error)
