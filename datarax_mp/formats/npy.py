"""Arrays out of .npy and .npz files."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.sources.config import MemorySourceConfig
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.storage.options import Storage
from datarax_mp.storage.reading import here

_PLAIN = zipfile.ZIP_STORED
_LOCAL_HEADER = 30  # bytes before the names in a zip file's local header; two lengths are its last four


def NpySource(paths: AnyPath, *, storage: Storage | None = None, **config: Any) -> MemorySource:  # noqa: N802  it stands beside the classes of other formats
    """The rows of an .npy file, or of the arrays of an .npz file, which are its columns.

    The files are looked at where they lie (``np.memmap``), by all workers: nothing is loaded or copied. What an .npz
    file has compressed (``np.savez_compressed``) is read into memory, which workers share.

    Args:
        paths: the file, by name or by a pattern that one file matches. The column of an .npy file is called ``value``.
        storage: how a URL is reached; see ``Storage``. The file is read as a whole when the source is made.
        **config: as for ``MemorySourceConfig``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds Python objects, is damaged, or has columns of unequal length.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.savez(f"{folder.name}/digits.npz", image=np.zeros((5, 8, 8), np.uint8), label=np.arange(5))
    >>> source = NpySource(f"{folder.name}/digits.npz")
    >>> len(source), source[3]["image"].shape, int(source[3]["label"])
    (5, (8, 8), 3)
    >>> folder.cleanup()
    """
    files = find_files(paths, ".npy", storage)
    if len(files) != 1:
        raise ValueError(f"expected one file, found {len(files)}, {files[0]} the first. Several are a ConcatSource")
    [path] = files
    with here(path) as name:
        columns = _columns_of_zip(path, name) if zipfile.is_zipfile(name) else {"value": _mapped(path, name)}
    return MemorySource(MemorySourceConfig(**config), columns)


def _mapped(path: str, name: str) -> np.ndarray:
    try:
        return np.load(name, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, EOFError, OSError) as error:
        if is_interruption(error):
            raise
        raise ValueError(f"{path}: it cannot be read as an array: {error}") from error


def _columns_of_zip(path: str, name: str) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(name) as archive:
        for entry in archive.infolist():
            column = entry.filename.removesuffix(".npy")
            try:
                columns[column] = _stored(name, archive, entry)
            except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
                if is_interruption(error):
                    raise
                raise ValueError(f"{path}, array {column!r}: it cannot be read: {error}") from error
    return columns


def _stored(path: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """An array of an archive: a view of the file, if it is stored there as it is."""
    with archive.open(entry) as file:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are pickles; save plain arrays")
        header = file.tell()
    if entry.compress_type != _PLAIN or not all(shape):
        with archive.open(entry) as file:
            return npy_format.read_array(file, allow_pickle=False)
    with open(path, "rb") as raw:
        raw.seek(entry.header_offset + _LOCAL_HEADER - 4)
        names = sum(np.frombuffer(raw.read(4), "<u2").tolist())
    start = entry.header_offset + _LOCAL_HEADER + names + header
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
