"""Which data an open handle gives: those of the file that it reads, or those that it holds in memory.

Two sources may differ in nothing but the files that they hold open. What gives no data does not count: a handle that
is closed, one that is only written to (a log), a lock, a socket. Nor does the place up to which it has been read.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.cache.errors import FingerprintError
from datarax_mp.cache.stamps import stamp
from datarax_mp.core.refusals import unless_refused
from datarax_mp.core.strays import is_from_handler

Data: TypeAlias = list[Any] | None


def data_of(value: Any, name: str) -> Data:
    """What identifies the data that a handle gives, as values that can be hashed.

    Args:
        value: what may be a handle.
        name: the way to it, for messages.

    Returns:
        The values; none of a handle that gives no data. None where it is no handle.

    Raises:
        FingerprintError: it cannot be known which data these are.

    >>> import threading
    >>> data_of(io.BytesIO(b"abc"), "stage.file"), data_of(threading.Lock(), "stage.lock"), data_of("a", "stage.text")
    ([b'abc'], [], None)
    """
    look = _LOOKS.get(type(value).__module__.partition(".")[0])
    return None if look is None else look(value, name)


def _of_nothing(handle: Any, name: str) -> Data:
    return []


def _of_stream(stream: Any, name: str) -> Data:
    if not isinstance(stream, io.IOBase):
        return None
    try:
        if stream.closed:
            return []
        if isinstance(stream, (io.BytesIO, io.StringIO)):
            return [stream.getvalue()]
        if isinstance(stream, io.FileIO):
            return _of_file(stream, name) if stream.readable() else []
        if isinstance(stream, io.TextIOWrapper):
            return _through(stream.buffer, name, stream.encoding, stream.errors)
        if isinstance(stream, (io.BufferedReader, io.BufferedRandom)):
            return _through(stream.raw, name)
    except ValueError:  # another stream has taken over what it read from (``detach``)
        if is_from_handler():
            raise
        return []
    if isinstance(stream, io.BufferedWriter):
        return []
    raise _unknown(name, "a stream of two others")


def _through(inner: Any, name: str, *how: Any) -> Data:
    """What comes through one handle out of another: nothing if that gives nothing."""
    data = data_of(inner, name)
    return [*how, inner] if data is None or data else []


def _of_file(file: io.FileIO, name: str) -> Data:
    """By its path, which stays the same when the system is started again, as long as the path leads to it."""
    status = unless_refused(lambda: os.fstat(file.fileno()), None)
    if status is None:  # somebody has closed its descriptor
        return []
    if not stat.S_ISREG(status.st_mode):
        raise _unknown(name, f"{file.name!r} is no file that could be read again")
    which: Any = (status.st_dev, status.st_ino)
    if isinstance(file.name, (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsencode(file.name))
        named = unless_refused(lambda: os.stat(path), None)
        if named is not None and (named.st_dev, named.st_ino) == which:
            which = path
    return [which, status.st_size, status.st_mtime_ns]


def _of_memory(memory: Any, name: str) -> Data:
    return [] if memory.closed else [np.frombuffer(memory, np.uint8)]  # of which it is known which file it is


def _of_compressed(file: Any, name: str) -> Data:
    if not isinstance(file, io.BufferedIOBase):
        return None
    if file.closed or not file.readable():
        return []
    return _through(getattr(file, "fileobj", None) or getattr(file, "_fp", None), name)


def _of_zip(archive: Any, name: str) -> Data:
    import zipfile  # delayed, as those below: whoever has such an object has imported it

    if not isinstance(archive, zipfile.ZipFile):
        return None
    return [] if archive.fp is None or archive.mode in ("w", "x") else _through(archive.fp, name)


def _of_tar(archive: Any, name: str) -> Data:
    import tarfile

    if not isinstance(archive, tarfile.TarFile):
        return None
    return [] if archive.mode in ("w", "x") else _through(archive.fileobj, name)


def _of_database(part: Any, name: str) -> Data:
    import sqlite3

    if isinstance(part, sqlite3.Row):
        return [part.keys(), tuple(part)]
    if isinstance(part, sqlite3.Cursor):
        return _through(part.connection, name)
    if not isinstance(part, sqlite3.Connection):
        return None
    try:
        cursor = part.cursor()
        cursor.row_factory = None
        return [_of_schema(part, *row[1:]) for row in cursor.execute("PRAGMA database_list").fetchall()]
    except sqlite3.Error as error:
        if "closed" in str(error):
            return []
        raise _unknown(name, f"the database cannot be asked which one it is ({error})") from error


def _of_schema(connection: Any, schema: Any, file: Any) -> Any:
    """A file, with the one beside it that holds what was written last; or what is in memory."""
    if not file:
        return connection.serialize(name=os.fsdecode(schema))
    path = os.fsencode(file)
    return [path, stamp(path), stamp(path + b"-wal")]


def _of_hdf5(part: Any, name: str) -> Data:
    import h5py

    if not isinstance(part, (h5py.Group, h5py.Dataset)):
        return None
    if not part:  # closed
        return []
    path = os.fsencode(part.file.filename)
    if stamp(path):
        return [part.name, os.path.abspath(path), stamp(path)]
    if part.file.driver == "core":
        return [part.name, part.file.id.get_file_image()]
    raise _unknown(name, f"{part.file.filename} is no file of this system")


def _unknown(name: str, why: str) -> FingerprintError:
    return FingerprintError(
        f"Cache: whether {name} is what it was cannot be known: {why}. Keep it out of the object's state "
        "(__getstate__), or open it where it is used"
    )


_LOOKS: dict[str, Callable[[Any, str], Data]] = {
    "_io": _of_stream,
    "_thread": _of_nothing,
    "bz2": _of_compressed,
    "gzip": _of_compressed,
    "h5py": _of_hdf5,
    "lzma": _of_compressed,
    "mmap": _of_memory,
    "select": _of_nothing,
    "socket": _of_nothing,
    "sqlite3": _of_database,
    "tarfile": _of_tar,
    "threading": _of_nothing,
    "zipfile": _of_zip,
}
