"""Records out of Arrow files: IPC files and streams, and Feather."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.integers import integer
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.pieces import Stamp
from datarax_mp.formats.wanted import check_columns, wanted_columns
from datarax_mp.sources.blocks import CACHE_BYTES, BlockSource
from datarax_mp.storage.options import Storage
from datarax_mp.storage.reading import here

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 16 << 20

_ENDINGS = (".arrow", ".feather", ".arrows", ".ipc")


class _Batches(NamedTuple):
    """The record batches of a file.

    Attributes:
        schema: what its columns are.
        rows: int64, how many each has.
        offsets: int64, of a stream where the message of each begins; nothing of a file with a footer.
    """

    schema: pa.Schema
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]


class ArrowSource(BlockSource):
    """The rows of Arrow files, one file behind the other: IPC with a footer (Feather, too), or as a stream.

    Files are mapped, not read: what is not compressed costs no copy but the one that brings a block's columns into the
    memory that all workers share. A record is a dict with a value for each column, as with ``ParquetSource``. Record
    batches are blocks; small ones are put together.

    Args:
        paths: files, patterns such as ``train-*.arrow``, folders (then what ends in .arrow, .arrows, .ipc or .feather),
            or several of these; the files that Hugging Face's ``datasets`` write among them.
        columns: names of the columns that are wanted; None is all.
        block_bytes: about how many bytes of a file are a block, unless a record batch is larger.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pyarrow is not installed: ``pip install "datarax-mp[arrow]"``.
        TypeError: ``columns`` is a single name.
        ValueError: a file is no Arrow file, is truncated, or has other columns than the first one; a column is not
            there.

    >>> import pyarrow as pa, tempfile
    >>> from datarax_mp import Pipeline
    >>> folder = tempfile.TemporaryDirectory()
    >>> table = pa.table({"n": list(range(10)), "text": [f"row {n}" for n in range(10)]})
    >>> with pa.OSFile(f"{folder.name}/train.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
    ...     writer.write_table(table, max_chunksize=4)
    >>> source = ArrowSource(folder.name)
    >>> len(source), source[9]
    (10, {'n': np.int64(9), 'text': 'row 9'})
    >>> [batch["n"].tolist() for batch in Pipeline(source=source, batch_size=4)]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        columns: Sequence[str] | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        self.files = find_files(paths, _ENDINGS, storage)
        self.cache_bytes = integer("cache_bytes", cache_bytes, least=0)
        self._columns = wanted_columns(columns)
        block_bytes = integer("block_bytes", block_bytes, least=1)
        self._stamps = [Stamp.of(path) for path in self.files]
        found = [_batches_of(path) for path in self.files]
        self._check(found)
        self._offsets = [batches.offsets for batches in found]
        runs = [
            _runs(batches.rows, stamp.size, block_bytes) for batches, stamp in zip(found, self._stamps, strict=True)
        ]
        # Of each block its file, its first record batch there and the one behind its last, and its rows.
        self._file = np.repeat(np.arange(len(runs)), [len(run) - 1 for run in runs])
        self._first = np.concatenate([run[:-1] for run in runs])
        self._last = np.concatenate([run[1:] for run in runs])
        sums = [np.append(0, np.cumsum(batches.rows)) for batches in found]
        self._rows: NDArray[np.int64] = np.concatenate(
            [np.diff(total[run]) for total, run in zip(sums, runs, strict=True)]
        )

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many rows each block has."""
        return self._rows

    def block_name(self, number: int) -> str:
        """See ``BlockSource``."""
        return f"{self.files[self._file[number]]}, record batches {self._first[number]} to {self._last[number]}"

    def read_block(self, number: int) -> Any:
        """Some record batches as an Arrow table.

        Raises:
            OSError: they cannot be read: the file is damaged, or was changed. File and record batches are named.
        """
        import pyarrow as pa

        file = int(self._file[number])
        path, offsets = self.files[file], self._offsets[file]
        batches = range(int(self._first[number]), int(self._last[number]))
        self._stamps[file].check(path)
        try:
            with here(path) as name, pa.memory_map(name) as mapped:
                if len(offsets):
                    found = _of_stream(mapped, offsets, batches)
                else:
                    options = pa.ipc.IpcReadOptions(use_threads=False)
                    reader = pa.ipc.open_file(mapped, options=options)
                    found = [reader.get_batch(place) for place in batches]
            table = pa.Table.from_batches(found)
            return table if self._columns is None else table.select(self._columns)
        except (pa.ArrowException, OSError) as error:
            if is_interruption(error):
                raise
            raise OSError(f"{self.block_name(number)}: it cannot be read: {error}") from error

    def _check(self, found: Sequence[_Batches]) -> None:
        """Make sure that all files have the same columns, and those that are wanted."""
        first = found[0].schema
        for path, batches in zip(self.files, found, strict=True):
            if not batches.schema.equals(first):
                raise ValueError(
                    f"files differ in their columns: {_words(first)} in {self.files[0]}, {_words(batches.schema)} in "
                    f"{path}"
                )
        check_columns(self.files[0], first.names if self._columns is None else self._columns, first.names)

    def __repr__(self) -> str:
        return f"ArrowSource({len(self.files)} files, {len(self)} rows)"


def _batches_of(path: str) -> _Batches:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError('Arrow files need pyarrow: pip install "datarax-mp[arrow]"', name="pyarrow") from error
    if not Stamp.of(path).size:
        raise ValueError(f"{path}: expected an Arrow file, found an empty one")
    try:
        with here(path) as name, pa.memory_map(name) as mapped:
            if mapped.read_at(6, 0) == b"ARROW1":
                # To know how many rows a batch has takes no more than one of its columns.
                reader = pa.ipc.open_file(mapped, options=pa.ipc.IpcReadOptions(included_fields=[0], use_threads=False))
                schema = pa.ipc.open_file(mapped).schema.remove_metadata()
                rows = [reader.get_batch(place).num_rows for place in range(reader.num_record_batches)]
                return _Batches(schema, np.array(rows, np.int64), np.empty(0, np.int64))
            return _batches_of_stream(path, mapped)
    except (pa.ArrowException, OSError) as error:
        if is_interruption(error):
            raise
        raise ValueError(
            f"{path}: expected an Arrow file, found something else or a damaged or truncated one: {error}"
        ) from error


def _batches_of_stream(path: str, mapped: pa.MemoryMappedFile) -> _Batches:
    import pyarrow as pa

    reader = pa.ipc.open_stream(mapped)
    schema = reader.schema
    if any(pa.types.is_dictionary(kind) for column in schema.types for kind in _kinds_in(column)):
        raise ValueError(
            f"{path}: a stream with dictionaries has to be read from its begin; write it as a file, with "
            "pyarrow.ipc.new_file or pyarrow.feather.write_feather"
        )
    offsets, rows = [mapped.tell()], list[int]()
    for batch in reader:
        rows.append(batch.num_rows)
        offsets.append(mapped.tell())
    return _Batches(schema.remove_metadata(), np.array(rows, np.int64), np.array(offsets, np.int64))


def _kinds_in(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A column's type, and those of what is in it: of structs, lists and maps."""
    yield kind
    for place in range(kind.num_fields):
        yield from _kinds_in(kind.field(place).type)


def _of_stream(mapped: pa.MemoryMappedFile, offsets: NDArray[np.int64], batches: range) -> list[pa.RecordBatch]:
    import pyarrow as pa

    schema = pa.ipc.open_stream(mapped).schema
    found = []
    for place in batches:
        mapped.seek(int(offsets[place]))
        found.append(pa.ipc.read_record_batch(pa.ipc.read_message(mapped), schema))
    return found


def _runs(rows: NDArray[np.int64], size: int, block_bytes: int) -> NDArray[np.int64]:
    """Record batches put together into blocks: the first of each, and the end. What each takes is not known exactly."""
    ends = np.cumsum(rows)
    blocks = max(1, round(size / block_bytes))
    if not len(rows) or not ends[-1]:
        return np.zeros(1, np.int64)
    borders = np.searchsorted(ends, np.arange(1, blocks) * int(ends[-1]) // blocks, "left") + 1
    return np.unique(np.concatenate([[0], borders, [len(rows)]]))


def _words(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
