"""Files in which records lie one behind the other, read in blocks of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.integers import integer
from datarax_mp.formats.compressed import decompressed
from datarax_mp.formats.files import AnyPath
from datarax_mp.formats.indexes import Arrays, indexed
from datarax_mp.formats.pieces import even_runs, read_piece
from datarax_mp.sources.blocks import CACHE_BYTES, BlockSource
from datarax_mp.sources.records import Records

BLOCK_BYTES = 16 << 20


class Raw(NamedTuple):
    """A record as it lies in its file.

    Attributes:
        path: the file.
        number: which record of it.
        at: where it begins.
        data: uint8, all of it, up to the next one.
    """

    path: str
    number: int
    at: int
    data: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class RawRecords(Records):
    """Some records of a file, as they lie there.

    Attributes:
        path: the file.
        first: which record of it the first one is.
        data: uint8, all of them.
        begins: int64 ``(records + 1,)``, where in the file each begins, and the end.
    """

    path: str
    first: int
    data: NDArray[np.uint8]
    begins: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """See ``Records``."""
        return int(self.data.nbytes + self.begins.nbytes)

    def __len__(self) -> int:
        return len(self.begins) - 1

    def __getitem__(self, place: int) -> Raw:
        start, begin, end = int(self.begins[0]), int(self.begins[place]), int(self.begins[place + 1])
        return Raw(self.path, self.first + place, begin, self.data[begin - start : end - start])


class RecordFiles(BlockSource):
    """The records of such files, one file behind the other; a derived class says where they begin, and decodes one.

    Where records lie is found out once, and kept in a small file. They are read in blocks of many, once an epoch, by
    one worker; all workers decode, each the records of its own batches. A compressed file is one block, decompressed as
    a whole by one worker, once to see what is in it, and once an epoch.

    Args:
        files: the files.
        kind: the format, and the version of its index.
        extra: that of this package which brings what is needed, for messages.
        index: of a file's name where each of its records begins, and the end, as ``{"begins": int64}``.
        is_compressed: whether a file is compressed.
        index_folder: where indexes are kept; None is the user's cache folder, for files of 16 MB and more.
        block_bytes: about how many bytes of a file are a block.
        cache_bytes: see ``BlockSource``.

    Attributes:
        files: see above.
    """

    def __init__(
        self,
        files: Sequence[str],
        kind: str,
        extra: str,
        *,
        index: Callable[[str], Arrays],
        is_compressed: Callable[[str], bool],
        index_folder: AnyPath | None = None,
        block_bytes: int = BLOCK_BYTES,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.files, self._extra = list(files), extra
        self.cache_bytes = integer("cache_bytes", cache_bytes, least=0)
        block_bytes = integer("block_bytes", block_bytes, least=1)
        found = [indexed(path, kind, index_folder, index) for path in self.files]
        self._stamps = [stamp for stamp, _ in found]
        self._compressed = [is_compressed(path) for path in self.files]
        each: list[NDArray[np.int64]] = [arrays["begins"] for _, arrays in found]
        runs = [
            np.unique([0, len(begins) - 1]) if whole else even_runs(begins[:-1], begins[1:], block_bytes)
            for begins, whole in zip(each, self._compressed, strict=True)
        ]
        # Of all files where each record begins, and the file's end; where each file's begin in it.
        self._begins: NDArray[np.int64] = np.concatenate(each)
        self._starts = np.cumsum([0, *map(len, each)])[:-1]
        # Of each block its file and its first record there; and how many it has.
        self._file = np.repeat(np.arange(len(runs)), [len(run) - 1 for run in runs])
        self._first = np.concatenate([run[:-1] for run in runs])
        self._rows: NDArray[np.int64] = np.concatenate([np.diff(run) for run in runs])

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many records each block has."""
        return self._rows

    def block_name(self, number: int) -> str:
        """See ``BlockSource``."""
        first = int(self._first[number])
        return f"{self.files[self._file[number]]}, records {first:,} to {first + self._rows[number]:,}"

    def read_block(self, number: int) -> Any:
        """A piece of a file, as it lies there.

        Raises:
            OSError: it cannot be read, is damaged, or was changed since. The file is named.
        """
        return self.read_raw(number)

    def read_raw(self, number: int) -> RawRecords:
        """The records of a block, as they lie in the file; see ``read_block``."""
        file, first = int(self._file[number]), int(self._first[number])
        path, stamp = self.files[file], self._stamps[file]
        start = int(self._starts[file]) + first
        begins = self._begins[start : start + int(self._rows[number]) + 1]
        begin, end = int(begins[0]), int(begins[-1])
        if not self._compressed[file]:
            return RawRecords(path, first, read_piece(path, stamp, begin, end), begins)
        stamp.check(path)
        content = np.frombuffer(decompressed(path, self._extra), np.uint8)
        return RawRecords(path, first, content[begin:end], begins)
