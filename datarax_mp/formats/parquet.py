"""Records out of Parquet files."""

from __future__ import annotations

import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.foreign import Unreadable, as_plain
from datarax_mp.core.integers import integer
from datarax_mp.core.record import RecordError
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.sources.facts import SaysFacts, SourceFacts

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetSource(SaysFacts):
    """The rows of Parquet files, one behind the other; only footers are read before a record is asked for.

    A record is a dict with a value for each column: numbers are NumPy's, lists of numbers arrays (of unequal length, so
    that ``Pad`` is wanted, unless the column is of fixed-size lists), and text, bytes, structs and whatever else are
    what they are, in ``batch.info``. Nulls among numbers are an error that names the record.

    A row group is read and decoded as a whole, and each worker keeps the newest ones, up to ``cache_bytes``. So reading
    in order decodes each once, and ``shuffle=True`` over files that are larger decodes one for nearly every record:
    then ``shuffle=ShuffleWindow(records=n)``, with windows of some row groups, keeps jumps short.

    Args:
        paths: files, patterns such as ``train-*.parquet``, folders, or several of these.
        columns: names of the columns that are wanted; None is all.
        cache_bytes: bytes of decoded row groups that a worker keeps; the newest one is kept whatever it takes.

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
        cache_bytes: int = 256 << 20,
    ) -> None:
        self.files = find_files(paths, ".parquet")
        if isinstance(columns, str):
            raise TypeError(f"columns must be a list of names, got {columns!r}; one column is [{columns!r}]")
        self._columns = None if columns is None else list(columns)
        self._cache_bytes = integer("cache_bytes", cache_bytes, least=0)
        self._first: tuple[str, Any] | None = None  # of the files with rows, and its columns
        groups = [self._groups_of(path) for path in self.files]
        # Of each row group its file, its place there, and the record behind its last one.
        self._file = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
        self._place = np.concatenate([np.arange(len(rows)) for rows in groups])
        self._ends: NDArray[np.int64] = np.cumsum(np.concatenate(groups), dtype=np.int64)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()  # where workers are threads
        self._decoded: OrderedDict[int, pa.Table] = OrderedDict()
        self._opened: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        own = ("_first", "_lock", "_decoded", "_opened")  # of this process
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        return SourceFacts(type(self).__name__, user_code=False)

    def __len__(self) -> int:
        """How many rows there are in all files."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One row; negative numbers count from the end.

        Raises:
            IndexError: there is no such row.
            OSError: its row group cannot be read: the file is damaged, or was changed. File and row group are named.
            RecordError: a value is null where numbers are.
        """
        number = operator.index(number)
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} is outside of the files' {len(self)} rows")
        table = self._rows([number % len(self)])
        try:
            return {name: as_plain(column)[0] for name, column in zip(table.column_names, table.columns, strict=True)}
        except Unreadable as error:
            raise RecordError(error.about(f"record {number}")) from error.__cause__

    def __getitems__(self, numbers: list[int]) -> pa.Table:
        """Several rows, in this order, as an Arrow table."""
        return self._rows(numbers)

    def _rows(self, numbers: list[int]) -> pa.Table:
        import pyarrow as pa  # delayed: workers import it when they read

        wanted = np.asarray(numbers, np.int64)
        if not len(wanted):
            return self._table(0).slice(0, 0)
        groups = np.searchsorted(self._ends, wanted, side="right")
        parts, places = [], np.empty(len(wanted), np.int64)
        begun = 0
        for group in np.unique(groups).tolist():
            mine = np.flatnonzero(groups == group)
            rows = wanted[mine] - (self._ends[group - 1] if group else 0)
            parts.append(self._table(group).take(pa.array(rows)))
            places[mine] = begun + np.arange(len(mine))
            begun += len(mine)
        if len(parts) == 1:
            return parts[0]
        return pa.concat_tables(parts).take(pa.array(places))

    def _table(self, group: int) -> pa.Table:
        """A decoded row group."""
        with self._lock:
            table = self._decoded.get(group)
            if table is not None:
                self._decoded.move_to_end(group)
                return table
            table = self._read(group)
            self._decoded[group] = table
            while len(self._decoded) > 1 and sum(one.nbytes for one in self._decoded.values()) > self._cache_bytes:
                self._decoded.popitem(last=False)
            return table

    def _read(self, group: int) -> pa.Table:
        import pyarrow as pa  # delayed, as above

        file, place = int(self._file[group]), int(self._place[group])
        if self._opened is None or self._opened[0] != file:
            self._opened = file, _open(self.files[file])
        expected = int(self._ends[group] - (self._ends[group - 1] if group else 0))
        try:
            table = self._opened[1].read_row_group(place, columns=self._columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{self.files[file]}, row group {place}: it cannot be read: {error}") from error
        if len(table) != expected:
            raise OSError(
                f"{self.files[file]}, row group {place}: expected the {expected} rows that it had when the source was "
                f"made, found {len(table)}. Make the source anew"
            )
        # Without what files may differ in: metadata, and whether there may be nulls.
        return pa.Table.from_arrays(table.columns, names=table.column_names)

    def _groups_of(self, path: str) -> NDArray[np.int64]:
        """The rows of each row group of a file, by its footer; the columns are those of the first file with rows."""
        with _open(path) as file:
            schema, metadata = file.schema_arrow.remove_metadata(), file.metadata
            rows = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
        if self._columns is not None:
            if missing := [name for name in self._columns if name not in schema.names]:
                raise ValueError(f"{path}: there is no column {missing[0]!r}; there are {', '.join(schema.names)}")
            schema = _chosen(schema, self._columns)
        if twice := [name for name in schema.names if schema.names.count(name) > 1]:
            raise ValueError(f"{path}: two columns are called {twice[0]!r}, and a field's name stands for one")
        if sum(rows):  # whoever writes no rows often knows no types
            self._first = self._first or (path, schema)
            if _kinds(schema) != _kinds(self._first[1]):
                raise ValueError(_differing(*self._first, path, schema))
        return np.array(rows, np.int64)

    def __repr__(self) -> str:
        return f"ParquetSource({len(self.files)} files, {len(self)} rows)"


def _open(path: str) -> Any:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError('Parquet files need pyarrow: pip install "datarax-mp[parquet]"', name="pyarrow") from error
    if not os.path.getsize(path):
        raise ValueError(f"{path}: expected a Parquet file, found an empty one")
    try:
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
