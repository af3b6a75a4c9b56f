"""Records out of CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datarax_mp.formats.compressed import is_compressed
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.indexes import Arrays
from datarax_mp.formats.line_index import head_of, line_number, rows_of
from datarax_mp.formats.record_files import BLOCK_BYTES, RecordFiles
from datarax_mp.formats.wanted import check_columns, wanted_columns
from datarax_mp.sources.blocks import CACHE_BYTES
from datarax_mp.storage.options import Storage

if TYPE_CHECKING:
    import pyarrow as pa

_ENDINGS = tuple(f"{ending}{packed}" for ending in (".csv", ".tsv") for packed in ("", ".gz", ".zst"))
_INDEX = "csv 2"  # the version of what is kept
_EXTRA = "csv"
_BEYOND = float(1 << 63)  # of integers, int64 holds what is less


class CsvSource(RecordFiles):
    r"""The rows of CSV files, one file behind the other, parsed by Arrow.

    The first row of each file names its columns. A record is a dict with a value for each: numbers are NumPy's, and
    text, dates and the like are what Arrow makes of them, in ``batch.info``. An empty field among numbers is an error
    that names the record; text may be empty. Of what kind a column is, is seen in the first block, and holds for all;
    integers beyond int64 are uint64, or an error where that does not hold them.

    Where rows begin is found out once (a quoted field may have several lines), and kept in a small file. They are read
    and parsed in blocks of many, once an epoch, by one worker. A file compressed by gzip or zstd is one block.

    Args:
        paths: files, patterns such as ``train-*.csv``, folders (then what ends in .csv or .tsv, and with .gz or .zst
            behind it), or several of these.
        columns: names of the columns that are wanted; None is all.
        column_types: for some columns what they are, as Arrow types or names of such (``{"zip": "string"}``).
        delimiter: what stands between two fields; None is a tab where the first file's name ends in .tsv, else a comma.
        index_folder: where indexes are kept. None is the user's cache folder, for files of 16 MB and more.
        block_bytes: about how many bytes of a file are a block.
        cache_bytes: see ``BlockSource``.
        storage: how URLs are reached, and what of them is kept; see ``Storage``.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pyarrow is not installed: ``pip install "datarax-mp[csv]"``.
        TypeError: ``columns`` is a single name.
        ValueError: a file has no first row, or another one than the first file; it ends within quotes; a column is not
            there, or has integers that no type holds.

    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = tempfile.TemporaryDirectory()
    >>> written = Path(folder.name, "train.csv").write_text('n,text\n1,one\n2,"two, and\nthree"\n')
    >>> source = CsvSource(folder.name)
    >>> len(source), source[1]
    (2, {'n': np.int64(2), 'text': 'two, and\nthree'})
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        columns: Sequence[str] | None = None,
        column_types: Mapping[str, Any] | None = None,
        delimiter: str | None = None,
        index_folder: AnyPath | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
        storage: Storage | None = None,
    ) -> None:
        try:
            import pyarrow.csv  # noqa: F401  missing here, and not in a worker
        except ImportError as error:
            raise ImportError('CSV files need pyarrow: pip install "datarax-mp[csv]"', name="pyarrow") from error
        self._columns = wanted_columns(columns)
        files = find_files(paths, _ENDINGS, storage)
        self._delimiter = delimiter or ("\t" if ".tsv" in files[0] else ",")
        super().__init__(
            files,
            _INDEX,
            _EXTRA,
            index=_without_header,
            is_compressed=is_compressed,
            index_folder=index_folder,
            block_bytes=block_bytes,
            cache_bytes=cache_bytes,
        )
        heads = [self._header(path, int(self._begins[start])) for path, start in zip(files, self._starts, strict=True)]
        self._names = heads[0]
        for path, names in zip(files, heads, strict=True):
            if names != self._names:
                raise ValueError(f"files differ in their columns: {self._names} in {files[0]}, {names} in {path}")
        check_columns(files[0], [*self._names, *(columns or ()), *(column_types or {})], self._names)
        self._types: dict[str, Any] = dict(column_types or {})
        if len(self):
            first = self._parsed(0)
            kinds = {name: self._kind(name, first[name]) for name in first.schema.names}
            self._types = {name: "string" if str(kind) == "null" else kind for name, kind in kinds.items()}

    def read_block(self, number: int) -> Any:
        """Some rows as an Arrow table; see ``RecordFiles``.

        Raises:
            OSError: they cannot be read.
            ValueError: a value is not of its column's kind, or a row has more or fewer; file and row are named.
        """
        return self._parsed(number)

    def _kind(self, name: str, column: pa.ChunkedArray) -> pa.DataType:
        """Of what kind a column is; Arrow makes floats of integers beyond int64, and of several of them the same one.

        Raises:
            ValueError: it has such integers, and uint64 does not hold them either.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if name in self._types or not _may_be_integers(column):
            return column.type
        table = self._parsed(0, column_types={name: "string"}, include_columns=[name], strings_can_be_null=True)
        texts = pc.utf8_trim_whitespace(table[name].drop_null())
        if not pc.all(pc.match_substring_regex(texts, "^-?[0-9]+$")).as_py():
            return column.type
        try:
            texts.cast(pa.uint64())
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{self.block_name(0)}, column {name!r}: it has integers that neither int64 nor uint64 holds, and as "
                f"floats several of them would be the same ({error}). Say what they are to be: "
                f"column_types={{{name!r}: 'string'}}, or 'double' where that does not matter"
            ) from error
        return pa.uint64()

    def _parsed(self, number: int, **convert: Any) -> pa.Table:
        """Some rows; ``convert`` has what differs from how values are converted otherwise."""
        import pyarrow as pa
        from pyarrow import csv

        raw = self.read_raw(number)
        try:
            return csv.read_csv(
                pa.BufferReader(pa.py_buffer(raw.data)),
                read_options=csv.ReadOptions(
                    column_names=self._names, use_threads=False, block_size=max(len(raw.data), 1) + 1
                ),
                parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    **{"column_types": self._types, "include_columns": self._columns, **convert}
                ),
            )
        except pa.ArrowException as error:
            line = line_number(raw.path, int(raw.begins[0]), _EXTRA)
            raise ValueError(
                f"{self.block_name(number)} (row #1 is line {line:,}, byte {int(raw.begins[0]):,}): {error}. Where "
                "the first rows do not show of what kind a column is, say it: column_types={'name': 'double'}"
            ) from error

    def _header(self, path: str, size: int) -> list[str]:
        import pyarrow as pa
        from pyarrow import csv

        options = csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True)
        try:
            table = csv.read_csv(pa.BufferReader(head_of(path, size, _EXTRA)), parse_options=options)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: expected a first row with the columns' names, found none: {error}") from error
        return list(table.column_names)

    def __repr__(self) -> str:
        return f"CsvSource({len(self.files)} files, {len(self)} rows)"


def _may_be_integers(column: pa.ChunkedArray) -> bool:
    """Whether a column of floats may be of integers that int64 does not hold."""
    if str(column.type) != "double":
        return False
    values = column.drop_null().to_numpy()
    return bool((values == np.trunc(values)).all() and (np.abs(values) >= _BEYOND).any())


def _without_header(path: str) -> Arrays:
    begins = rows_of(path, _EXTRA)["begins"]
    return {"begins": begins[1:] if len(begins) > 1 else begins}
