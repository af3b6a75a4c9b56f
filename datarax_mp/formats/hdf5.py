"""Records out of HDF5 files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from datarax_mp.core.integers import integer
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.pieces import Stamp
from datarax_mp.formats.row_ranges import BLOCK_BYTES, RowRanges, check_alike, chosen, one_length, rows_of_block
from datarax_mp.formats.wanted import wanted_columns
from datarax_mp.sources.blocks import CACHE_BYTES
from datarax_mp.storage.options import Storage
from datarax_mp.storage.reading import here

_ENDINGS = (".h5", ".hdf5")
_TEXT_BYTES = 64  # of a text or a list whose length nobody knows, for the size of a block


class HDF5Source(RowRanges):
    """The rows of HDF5 files, one file behind the other: the data sets of a file are its columns, nested as groups are.

    A record is a dict with a row of each data set. Text is text, in ``batch.info``, and lists of unequal length are
    arrays, so that ``Pad`` is wanted. Blocks are ranges of rows that hold whole chunks. A file is opened in every
    process that reads it, at its first block there. A data set has a field for each of its names, links among them.

    Args:
        paths: files, patterns such as ``train-*.h5``, folders (then what ends in .h5 or .hdf5), or several of these.
        datasets: names of the data sets that are wanted, with slashes where they are in groups; None is all.
        block_bytes: about how many bytes a block has.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed: ``pip install "datarax-mp[hdf5]"``.
        TypeError: ``datasets`` is a single name.
        ValueError: a file is no HDF5 file, or has other data sets than the first one; a data set is not there, is of a
            compound type, or has more or fewer rows.

    >>> import h5py, tempfile
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> with h5py.File(f"{folder.name}/train.h5", "w") as file:
    ...     file["image"] = np.zeros((5, 8, 8), np.uint8)
    ...     file["label/fine"] = np.arange(5)
    >>> source = HDF5Source(folder.name)
    >>> len(source), source[3]["image"].shape, source[3]["label"]
    (5, (8, 8), {'fine': np.int64(3)})
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        datasets: Sequence[str] | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        files = find_files(paths, _ENDINGS, storage)
        self._datasets = wanted_columns(datasets)
        stamps = [{path: Stamp.of(path)} for path in files]
        lengths, kinds, sizes = list[int](), list[dict[str, str]](), list[tuple[int, int]]()
        for path in files:
            found = self.open(path)
            lengths.append(one_length(path, {name: len(one) for name, one in found.items()}))
            kinds.append({name: f"{one.dtype} {one.shape[1:]}" for name, one in found.items()})
            sizes = [_sizes(path, name, one) for name, one in found.items()]
            next(iter(found.values())).file.close()
        check_alike(files, kinds)
        super().__init__(
            files, stamps, lengths, rows_of_block(sizes, integer("block_bytes", block_bytes, least=1)), cache_bytes
        )

    def open(self, path: str) -> Mapping[str, Any]:
        """See ``RowRanges``."""
        try:
            import h5py
        except ImportError as error:
            raise ImportError('HDF5 files need h5py: pip install "datarax-mp[hdf5]"', name="h5py") from error
        if not Stamp.of(path).size:
            raise ValueError(f"{path}: expected an HDF5 file, found an empty one")
        try:
            with here(path) as name:
                file = h5py.File(name, "r")
        except OSError as error:
            if isinstance(error, PermissionError) or is_interruption(error):
                raise
            raise ValueError(
                f"{path}: expected an HDF5 file, found something else or a damaged one: {error}"
            ) from error
        try:
            found = self._found(path, file)
            wanted = chosen(path, found, self._datasets)
            one_length(path, {name: len(one) for name, one in wanted.items()})
        except ValueError:
            file.close()
            raise
        return wanted

    def _found(self, path: str, file: Any) -> dict[str, Any]:
        """The data sets of a file by name.

        Raises:
            ValueError: one that is wanted is a link out of the file, or to nothing.
        """
        found = dict(_members(file["/"]))
        for name, one in found.items():
            if isinstance(one, str) and (self._datasets is None or name in self._datasets):
                raise ValueError(
                    f"{path}: {name!r} is a link to {one}, and only what is in the file itself is read. Say by "
                    "datasets= which data sets are wanted, or copy this one into the file"
                )
        return {name: one for name, one in found.items() if not isinstance(one, str)}

    def read(self, array: Any, rows: slice) -> Any:
        """See ``RowRanges``."""
        import h5py

        if h5py.check_string_dtype(array.dtype) is not None:
            return list(array.asstr()[rows])
        found = array[rows]
        return list(found) if found.dtype.hasobject else found

    def __repr__(self) -> str:
        return f"HDF5Source({len(self.files)} files, {len(self)} rows)"


def _members(group: Any, within: Sequence[Any] = ()) -> Iterator[tuple[str, Any]]:
    """Data sets of a group and of groups in it, by name, by links, too; of one that leads out or nowhere, where to."""
    import h5py

    within = (*within, group)
    for name in sorted(group):
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            yield name, f"{link.path} in {link.filename}"
        elif isinstance(link, h5py.SoftLink) and group.get(name) is None:
            yield name, f"{link.path}, where nothing is"
        elif isinstance(one := group[name], h5py.Dataset) and one.ndim:
            yield name, one
        elif isinstance(one, h5py.Group) and one not in within:  # a link may lead back to a group that it is in
            yield from ((f"{name}/{inner}", each) for inner, each in _members(one, within))


def _sizes(path: str, name: str, one: Any) -> tuple[int, int]:
    """Bytes of a row of a data set, and rows of a chunk."""
    if one.dtype.names:
        raise ValueError(
            f"{path}, data set {name!r}: it is of a compound type ({one.dtype}), and a field is an array of one type. "
            "Leave it out by datasets=, or write its parts as data sets"
        )
    rows = max(1, len(one))
    row = one.size // rows * (_TEXT_BYTES if one.dtype.hasobject else one.dtype.itemsize)
    return row, min(one.chunks[0], rows) if one.chunks else 1
