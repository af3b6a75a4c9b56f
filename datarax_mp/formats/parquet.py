"""Records out of Parquet files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.integers import integer
from datarax_mp.core.per_process import PerProcess
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.indexes import Arrays, indexed
from datarax_mp.formats.pieces import Stamp
from datarax_mp.formats.wanted import check_columns, wanted_columns
from datarax_mp.sources.blocks import CACHE_BYTES, BlockSource
from datarax_mp.storage.ahead import ReadAhead
from datarax_mp.storage.options import Storage
from datarax_mp.storage.ranges import Span
from datarax_mp.storage.reading import bring, bring_ends, opened
from datarax_mp.storage.remote import Remote

_AHEAD = 4  # row groups
_FOOTER_BYTES = 64 << 10  # of most files at least; a longer one is read in a second step


class _Coming:
    """Row groups that are asked for before they are read.

    Attributes:
        groups: those, by number.
        wanted: whether the last one that was read had to be asked for; otherwise all may be there already.
    """

    def __init__(self) -> None:
        self.groups, self.wanted = ReadAhead[bool](_AHEAD + 1), True


class ParquetSource(BlockSource):
    """The rows of Parquet files, one behind the other; only footers are read before a record is asked for.

    Of files that lie elsewhere (``s3://bucket/train/*.parquet``) no more is ever read than footers and those row groups
    and columns that are wanted.

    A record is a dict with a value for each column: numbers are NumPy's, lists of numbers arrays (of unequal length, so
    that ``Pad`` is wanted, unless the column is of fixed-size lists), structs nested fields, and text, bytes, lists of
    structs and whatever else are what they are, in ``batch.info``. Nulls among numbers are an error that names the
    record. A list of structs that is empty in the first record is taken for an array, which the others are not.

    A row group is a block: read once an epoch, by one worker; see ``BlockSource`` for what ``shuffle`` means then.

    Args:
        paths: files, patterns such as ``train-*.parquet``, folders, or several of these.
        columns: names of the columns that are wanted; None is all.
        filters: which rows are wanted, as ``pyarrow.parquet.read_table`` takes it: an expression of
            ``pyarrow.compute``, or ``[("label", "in", [1, 2])]``. Row groups whose statistics rule it out are not
            read. How many rows of the others there are is counted once, by reading the columns that it is about.
        index_folder: with ``filters``, where these numbers are kept. None is the user's cache folder, for files of
            16 MB and more.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pyarrow is not installed: ``pip install "datarax-mp[parquet]"``.
        TypeError: ``columns`` is a single name.
        ValueError: a file is no Parquet file, or has other columns than the first one; a column is not there.

    >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile
    >>> from datarax_mp import Pipeline
    >>> folder = tempfile.TemporaryDirectory()
    >>> table = pa.table({"n": list(range(10)), "text": [f"row {n}" for n in range(10)]})
    >>> pq.write_table(table, f"{folder.name}/train-0.parquet", row_group_size=4)
    >>> source = ParquetSource(f"{folder.name}/train-*.parquet")
    >>> len(source), source[9]["text"]
    (10, 'row 9')
    >>> [batch["n"].tolist() for batch in Pipeline(source=source, batch_size=4)]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        columns: Sequence[str] | None = None,
        filters: Any = None,
        index_folder: AnyPath | None = None,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        self.files = find_files(paths, ".parquet", storage)
        self._columns, self._filters = wanted_columns(columns), filters
        self.cache_bytes = integer("cache_bytes", cache_bytes, least=0)
        self._own = PerProcess(threading.local)  # an open file serves one thread
        self._coming = PerProcess(_Coming)
        self._stamps = [Stamp.of(path) for path in self.files]
        bring_ends(self.files, _FOOTER_BYTES)
        groups = self._groups()
        if filters is not None:
            groups = self._wanted_rows(index_folder)
        # Of each row group its file, its place there, and its rows.
        self._file = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
        self._place = np.concatenate([np.arange(len(rows)) for rows in groups])
        self._rows: NDArray[np.int64] = np.concatenate(groups)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many rows each row group has."""
        return self._rows

    def block_name(self, number: int) -> str:
        """See ``BlockSource``."""
        return f"{self.files[self._file[number]]}, row group {self._place[number]}"

    def read_block(self, number: int) -> Any:
        """A row group, or those of its rows that are wanted, as an Arrow table.

        Raises:
            OSError: it cannot be read: the file is damaged, or was changed. File and row group are named.
        """
        import pyarrow as pa  # delayed: workers import it when they read

        file, place = int(self._file[number]), int(self._place[number])
        self._stamps[file].check(self.files[file])
        try:
            if self._filters is not None:
                group, expression = _row_group(self.files[file], place), _expression(self._filters)
                return group.to_table(columns=self._columns, filter=expression, use_threads=False)
            opened = self._open(file)
            if isinstance(path := self.files[file], Remote):
                coming = self._coming.value
                came = coming.groups.finish(number)
                coming.wanted = self._bring(path, opened, place) or bool(came)
            group = opened.read_row_group(place, columns=self._columns, use_threads=False)
            # By "a.b" Arrow means what is in "a", too; older versions mean by "a" a column "a.b", too.
            return group if self._columns is None else group.select(self._columns)
        except (pa.ArrowException, OSError) as error:
            if is_interruption(error):
                raise
            raise OSError(f"{self.block_name(number)}: it cannot be read: {error}") from error

    def expect_blocks(self, numbers: Sequence[int]) -> None:
        """See ``BlockSource``: row groups that lie elsewhere are asked for, while what is read has to be, too."""
        coming = self._coming.value
        for number in numbers if coming.wanted and self._filters is None else ():
            path = self.files[self._file[number]]
            # One that made the others leave the cache before they are read would be asked for in vain.
            if isinstance(path, Remote) and (_AHEAD + 1) * path.size <= path.storage.cache_bytes:
                coming.groups.begin(number, partial(self._bring_ahead, path, int(self._place[number])))

    def _bring_ahead(self, path: Remote, place: int) -> bool:
        with _open(path) as opened:
            return self._bring(path, opened, place)

    def _bring(self, path: Remote, opened: Any, place: int) -> bool:
        """Have a row group in the cache; whether it was not there, and is now."""
        brought = bring(self._spans(path, opened.metadata.row_group(place)))
        return brought.asked and not brought.unkept

    def _open(self, file: int) -> Any:
        """An open file; the one that was read last stays open."""
        mine = self._own.value
        opened: tuple[int, Any] | None = getattr(mine, "opened", None)
        if opened is None or opened[0] != file:
            opened = mine.opened = file, _open(self.files[file])
        return opened[1]

    def _spans(self, path: Remote, group: Any) -> list[Span]:
        """Where the columns of a row group lie that are wanted."""
        spans = []
        for column in map(group.column, range(group.num_columns)):
            if self._columns is None or column.path_in_schema.partition(".")[0] in self._columns:
                begins = [column.data_page_offset, column.dictionary_page_offset or column.data_page_offset]
                spans.append(Span(path, min(begins), min(begins) + column.total_compressed_size))
        return spans

    def _wanted_rows(self, index_folder: AnyPath | None) -> list[NDArray[np.int64]]:
        """Of each file how many rows of each row group are wanted."""
        if (written := _written(self._filters)) is None:
            return [self._counted(path)["rows"] for path in self.files]
        kind = f"parquet rows 2: {hashlib.blake2b(written, digest_size=16).hexdigest()}"
        return [indexed(path, kind, index_folder, self._counted)[1]["rows"] for path in self.files]

    def _counted(self, path: str) -> Arrays:
        """How many rows of each row group are wanted."""
        import pyarrow as pa

        expression, rows = _expression(self._filters), list[int]()
        with _open(path) as file:
            groups = file.metadata.num_row_groups
        try:
            rows = [_row_group(path, place).count_rows(filter=expression) for place in range(groups)]
        except (pa.ArrowException, OSError) as error:
            if is_interruption(error):
                raise
            raise ValueError(f"{path}: the rows with {expression} cannot be counted: {error}") from error
        return {"rows": np.array(rows, np.int64)}

    def _groups(self) -> list[NDArray[np.int64]]:
        """Of each file the rows of each row group, by its footer.

        Raises:
            ValueError: its columns are others than those of the first file with rows.
        """
        groups: list[NDArray[np.int64]] = []
        first: tuple[str, Any] | None = None
        for path in self.files:
            rows, schema = self._footer(path)
            groups.append(rows)
            if rows.any():  # whoever writes no rows often knows no types
                first = first or (path, schema)
                if _kinds(schema) != _kinds(first[1]):
                    raise ValueError(_differing(*first, path, schema))
        return groups

    def _footer(self, path: str) -> tuple[NDArray[np.int64], Any]:
        """The rows of each row group of a file, and of the columns that are wanted names and types."""
        with _open(path) as file:
            schema, metadata = file.schema_arrow.remove_metadata(), file.metadata
            rows = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
        check_columns(path, schema.names if self._columns is None else self._columns, schema.names)
        return np.array(rows, np.int64), schema if self._columns is None else _chosen(schema, self._columns)

    def __repr__(self) -> str:
        return f"ParquetSource({len(self.files)} files, {len(self)} rows)"


def _expression(filters: Any) -> Any:
    """Which rows are wanted, as an expression."""
    import pyarrow.compute as pc
    from pyarrow.parquet import filters_to_expression

    return filters if isinstance(filters, pc.Expression) else filters_to_expression(filters)


def _written(filters: Any) -> bytes | None:
    """Which rows are wanted, so that no two filters are written alike; None of what Arrow cannot write down.

    As text, Arrow leaves out the middle of a long list.
    """
    import pyarrow as pa

    try:
        _, (written,) = _expression(filters).__reduce__()
    except pa.ArrowException:
        return None
    return bytes(written)


def _row_group(path: str, place: int) -> Any:
    """A row group, of which rows may be chosen."""
    from pyarrow.dataset import ParquetFileFormat
    from pyarrow.fs import LocalFileSystem

    if isinstance(path, Remote):
        return ParquetFileFormat().make_fragment(opened(path), row_groups=[place])
    return ParquetFileFormat().make_fragment(path, LocalFileSystem(), row_groups=[place])


def _open(path: str) -> Any:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError('Parquet files need pyarrow: pip install "datarax-mp[parquet]"', name="pyarrow") from error
    if not Stamp.of(path).size:
        raise ValueError(f"{path}: expected a Parquet file, found an empty one")
    try:
        if isinstance(path, Remote):
            return ParquetFile(opened(path), pre_buffer=False)
        return ParquetFile(path, memory_map=True, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: expected a Parquet file, found something else or a damaged footer: {error}"
        ) from error


def _chosen(schema: Any, names: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])


def _kinds(schema: Any) -> list[tuple[str, Any]]:
    """Names and types; whether a column may hold nulls shows when it does."""
    return list(zip(schema.names, schema.types, strict=True))


def _differing(first: str, ours: Any, path: str, theirs: Any) -> str:
    for name in {**dict.fromkeys(ours.names), **dict.fromkeys(theirs.names)}:
        kinds = [str(schema.field(name).type) if name in schema.names else None for schema in (ours, theirs)]
        if kinds[0] != kinds[1]:
            here, there = (f"is {kind}" if kind else "is missing" for kind in kinds)
            return f"files differ in column {name!r}: it {here} in {first}, and {there} in {path}"
    return f"files have their columns in another order: {ours.names} in {first}, {theirs.names} in {path}"
