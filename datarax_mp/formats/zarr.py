"""Records out of Zarr stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.integers import integer
from datarax_mp.core.record import VALUE_FIELD
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.files import AnyPath
from datarax_mp.formats.pieces import Stamp
from datarax_mp.formats.row_ranges import BLOCK_BYTES, RowRanges, chosen, one_length, rows_of_block
from datarax_mp.formats.wanted import wanted_columns
from datarax_mp.sources.blocks import CACHE_BYTES
from datarax_mp.storage.asking import system_of
from datarax_mp.storage.options import Storage
from datarax_mp.storage.remote import is_url, without_file_scheme

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")


class ZarrSource(RowRanges):
    """The rows of a Zarr store, of format 2 or 3: a group's arrays are its columns, nested as groups are.

    A record is a dict with a row of each array; where the store is one array, it is called ``value``. Blocks are ranges
    of rows that hold whole chunks (or shards, where there are such). A store is opened in every process that reads it,
    at its first block there.

    That a store was made anew is noticed by its zip file, or by the metadata of its arrays; what was written into their
    chunks is not, nor is what was written behind a URL.

    Args:
        path: the store's folder or zip file; or a folder's URL (``s3://bucket/train.zarr``), of which Zarr reads chunk
            by chunk, and keeps nothing on the disk.
        arrays: names of the arrays that are wanted, with slashes where they are in groups; None is all.
        block_bytes: about how many bytes a block has.
        cache_bytes: see ``BlockSource``.
        storage_options: for the file system of a URL, as ``Storage`` takes them in ``options``.

    Raises:
        FileNotFoundError: there is no such store.
        ImportError: zarr is not installed: ``pip install "datarax-mp[zarr]"``.
        TypeError: ``arrays`` is a single name.
        ValueError: it is no Zarr store; an array is not there, or has more or fewer rows.

    >>> import tempfile
    >>> import zarr
    >>> folder = tempfile.TemporaryDirectory()
    >>> group = zarr.open_group(f"{folder.name}/train.zarr", mode="w")
    >>> group["image"] = np.zeros((5, 8, 8), np.uint8)
    >>> group["label"] = np.arange(5)
    >>> source = ZarrSource(f"{folder.name}/train.zarr")
    >>> len(source), source[3]["image"].shape, source[3]["label"]
    (5, (8, 8), np.int64(3))
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: AnyPath,
        *,
        arrays: Sequence[str] | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._arrays, self._options = wanted_columns(arrays), dict(storage_options or {})
        store = os.fspath(path)
        if is_url(store):
            system_of(store, Storage(options=self._options))  # what is missing is said here, and not in a worker
        elif self._options:
            raise ValueError(f"{store}: storage_options are for URLs, and this is a path")
        else:
            store = os.path.abspath(os.path.expanduser(without_file_scheme(store)))
        found = self.open(store)
        length = one_length(store, {name: one.shape[0] for name, one in found.items()})
        rows = rows_of_block(map(_sizes, found.values()), integer("block_bytes", block_bytes, least=1))
        super().__init__([store], [_stamps(store, found)], [length], rows, cache_bytes)

    def open(self, path: str) -> Mapping[str, Any]:
        """See ``RowRanges``."""
        try:
            import zarr
        except ImportError as error:
            raise ImportError('Zarr stores need zarr: pip install "datarax-mp[zarr]"', name="zarr") from error
        options = self._options if is_url(path) else None
        if options is None and not os.path.exists(path):
            raise FileNotFoundError(f"{path}: expected a Zarr store, found nothing there")
        try:
            packed = zarr.storage.ZipStore(path, mode="r") if os.path.isfile(path) else path  # which Zarr does not see
            store = zarr.open(packed, mode="r", storage_options=options)
        except Exception as error:  # several kinds, of which none is documented
            if is_interruption(error):
                raise
            raise ValueError(
                f"{path}: expected a Zarr store, found something else or a damaged one: {error}"
            ) from error
        if isinstance(store, zarr.Array):
            return chosen(path, {VALUE_FIELD[0]: store}, self._arrays)
        members = store.members(max_depth=None)
        found = {name: one for name, one in members if isinstance(one, zarr.Array) and one.ndim}
        return chosen(path, dict(sorted(found.items())), self._arrays)

    def read(self, array: Any, rows: slice) -> Any:
        """See ``RowRanges``."""
        found = np.asarray(array[rows])
        return found.tolist() if found.dtype.kind in "OTUS" else found

    def __repr__(self) -> str:
        return f"ZarrSource({self.files[0]!r}, {len(self)} rows)"


def _stamps(store: str, arrays: Iterable[str]) -> dict[str, Stamp]:
    """By what a store is known to be the one that it was: a zip file by itself, a folder by its metadata."""
    if is_url(store):
        return {}
    folders = [store, *(os.path.join(store, name) for name in arrays)]
    files = [store, *(os.path.join(folder, name) for folder in folders for name in _METADATA)]
    return {file: Stamp.of(file) for file in files if os.path.isfile(file)}


def _sizes(array: Any) -> tuple[int, int]:
    """Bytes of a row, and rows of a chunk or a shard."""
    rows = max(1, array.shape[0])
    chunk = (getattr(array, "shards", None) or array.chunks)[0]
    return int(array.size // rows * array.dtype.itemsize), max(1, min(chunk, rows))
