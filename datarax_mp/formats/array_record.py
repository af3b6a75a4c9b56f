"""Records out of ArrayRecord files."""

from __future__ import annotations

import itertools
import logging
import operator
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.per_process import PerProcess
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.features import Features, Wish, about
from datarax_mp.formats.files import AnyPath, find_files
from datarax_mp.formats.pieces import Stamp
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.records import Records
from datarax_mp.sources.together import checked_numbers, one_number
from datarax_mp.storage.options import Storage
from datarax_mp.storage.reading import here

log = logging.getLogger("datarax_mp")

_ENDINGS = (".array_record", ".arrayrecord")
_MOST_OPEN = 128  # files; each takes a descriptor, and memory for its index
_BUFFER = 1 << 10  # bytes read at least; with more, a small record costs reading its neighbours, too


class _Reader:
    """An open file, read by one thread at a time.

    Args:
        path: the file.

    Raises:
        ImportError: array-record is not installed.
        ValueError: it is no ArrayRecord file, or a damaged one.
    """

    def __init__(self, path: str) -> None:
        try:
            from array_record.python import array_record_module
        except ImportError as error:
            raise ImportError(
                'ArrayRecord files need array-record: pip install "datarax-mp[array-record]"', name="array_record"
            ) from error
        options = "readahead_buffer_size:0,max_parallelism:0"  # what array_record advises for access by number
        with here(path) as name:
            self._reader = array_record_module.ArrayRecordReader(name, options, file_reader_buffer_size=_BUFFER)
        self._lock = threading.RLock()
        if not self._reader.ok():
            try:
                self._reader.read([0])  # says why
                why = "it says no more"
            except RuntimeError as error:
                if is_interruption(error):
                    raise
                why = str(error)
            raise ValueError(f"{path}: expected an ArrayRecord file, found something else or a damaged one: {why}")

    @property
    def records(self) -> int:
        """How many records the file has."""
        return self._reader.num_records()

    @property
    def group_size(self) -> int:
        """How many records were compressed together; 1 where the file does not say."""
        found = re.search(r"group_size:(\d+)", self._reader.writer_options_string())
        return int(found[1]) if found else 1

    def read(self, places: Sequence[int]) -> list[bytes]:
        """Some of its records.

        Raises:
            RuntimeError: one of them is damaged.
        """
        first, end = places[0], places[-1] + 1
        with self._lock:
            if len(places) == end - first and all(b - a == 1 for a, b in itertools.pairwise(places)):
                return self._reader.read(first, end)  # five times as quick
            return self._reader.read(places)


class _Opened:
    """Open files by their places, those that were wanted last at the end."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # where workers are threads
        self.readers: OrderedDict[int, _Reader] = OrderedDict()


class _Unparsed(NamedTuple):
    """A record as it was read."""

    path: str
    place: int
    data: bytes


class _Parsed(Records):
    """Records that are parsed when their turn comes, so that one of a batch is there decoded at a time."""

    def __init__(self, features: Features, records: Sequence[_Unparsed]) -> None:
        self._features, self._records = features, records

    @property
    def nbytes(self) -> int:
        return sum(len(record.data) for record in self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: int) -> dict[str, Any]:
        record = self._records[place]
        try:
            return self._features.of(record.data)
        except Exception as error:
            raise about(error, f"{record.path}, record {record.place:,}") from error


class ArrayRecordSource(SaysFacts):
    """The records of ArrayRecord files, one file behind the other, read by number.

    A record is bytes, or, if ``features`` says of what, a ``tf.train.Example`` as a dict of its features.

    Every record can be read alone, so ``shuffle=True`` shuffles all of them, and there are no blocks. How many there
    are, a file's last bytes say. Files are opened by whoever reads them, when that is first wanted.

    Args:
        paths: files, patterns such as ``train.array_record-*``, folders (then what ends in .array_record or
            .arrayrecord), or several of these.
        features: as for ``TFRecordSource``; None leaves records as bytes.
        storage: how URLs are reached; see ``Storage``. A file is read as a whole when it is first wanted.

    Attributes:
        files: the files.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: array-record is not installed: ``pip install "datarax-mp[array-record]"``.
        ValueError: a file is no ArrayRecord file or a damaged one; a shape can't be.
        TypeError: ``features`` says something else.

    >>> import tempfile
    >>> from array_record.python.array_record_module import ArrayRecordWriter
    >>> from datarax_mp import Pipeline
    >>> folder = tempfile.TemporaryDirectory()
    >>> writer = ArrayRecordWriter(f"{folder.name}/train.array_record", "group_size:1")
    >>> for number in range(5):
    ...     writer.write(f"record {number}".encode())
    >>> writer.close()
    >>> source = ArrayRecordSource(folder.name)
    >>> len(source), source[4]
    (5, b'record 4')
    >>> lengths = Pipeline(source=source, batch_size=3, stages=[lambda data: {"length": len(data)}])
    >>> [batch["length"].tolist() for batch in lengths]
    [[8, 8, 8], [8, 8]]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        paths: AnyPath | Iterable[AnyPath],
        features: Mapping[str, Wish] | None = None,
        *,
        storage: Storage | None = None,
    ) -> None:
        self.files = find_files(paths, _ENDINGS, storage)
        self._features = Features.asked(features)
        self._stamps = [Stamp.of(path) for path in self.files]
        records, grouped = [], []
        for path in self.files:
            reader = _Reader(path)
            records.append(reader.records)
            if reader.records and reader.group_size > 1:
                grouped.append((path, reader.group_size))
        if grouped:
            path, size = grouped[0]
            log.warning(
                "%s: its records were compressed %d at a time, so reading one of them decompresses so many (%d of %d "
                "files are like it); write files with the option group_size:1",
                path,
                size,
                len(grouped),
                len(self.files),
            )
        self._ends: NDArray[np.int64] = np.cumsum(records, dtype=np.int64)  # of each file, the record behind its last
        self._own = PerProcess(_Opened)

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        user_code = self._features is not None and self._features.user_code
        return SourceFacts(type(self).__name__, user_code=user_code)

    def __len__(self) -> int:
        """How many records there are."""
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Any:
        """One record; negative numbers count from the end.

        Raises:
            IndexError: there is no such record.
            OSError: it cannot be read, or its file was changed; file and record are named.
            RecordError: it is no Example with these features.
        """
        return self.__getitems__([one_number(operator.index(number), len(self))])[0]

    def __getitems__(self, numbers: Sequence[int]) -> Records | list[bytes]:
        """Several records in this order, read in one call for each file.

        Raises:
            IndexError: there is no such record.
            OSError: one cannot be read, or its file was changed; file and record are named.
        """
        wanted = checked_numbers(numbers, len(self))
        files = np.searchsorted(self._ends, wanted, side="right")
        order = np.argsort(wanted, kind="stable")
        found: list[Any] = [None] * len(wanted)
        for file, group in itertools.groupby(order.tolist(), key=files.tolist().__getitem__):
            rows = list(group)
            before = int(self._ends[file - 1]) if file else 0
            places = (wanted[rows] - before).tolist()
            for row, place, data in zip(rows, places, self._read(file, places), strict=True):
                found[row] = _Unparsed(self.files[file], place, data)
        if self._features is None:
            return [record.data for record in found]
        return _Parsed(self._features, found)

    def _read(self, file: int, places: list[int]) -> list[bytes]:
        """Records of one file, by their places there in growing order."""
        reader = self._open(file)
        try:
            return reader.read(places)
        except RuntimeError as error:
            if is_interruption(error):
                raise
            if len(places) > 1:  # which of them it is shows one by one
                return [data for place in places for data in self._read(file, [place])]
            raise OSError(f"{self.files[file]}, record {places[0]:,}: it cannot be read: {error}") from error

    def _open(self, file: int) -> _Reader:
        """An open file; those that were wanted last stay open."""
        opened = self._own.value
        with opened.lock:
            if (reader := opened.readers.get(file)) is None:
                self._stamps[file].check(self.files[file])
                reader = opened.readers[file] = _Reader(self.files[file])
                if len(opened.readers) > _MOST_OPEN:
                    opened.readers.popitem(last=False)
            opened.readers.move_to_end(file)
            return reader
