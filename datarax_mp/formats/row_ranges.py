"""Files of arrays, whose blocks are ranges of rows."""

from __future__ import annotations

import math
import os
import threading
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.integers import integer
from datarax_mp.core.per_process import PerProcess
from datarax_mp.core.record import nest
from datarax_mp.core.strays import is_interruption
from datarax_mp.formats.pieces import Stamp
from datarax_mp.sources.blocks import BlockSource

BLOCK_BYTES = 8 << 20


class _Opened:
    """The file that was opened last, for one thread at a time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.last: tuple[int, int, Mapping[str, Any]] | None = None  # process, file, and what it is read by


class RowRanges(BlockSource):
    """The rows of such files, one file behind the other; a derived class opens one, and reads a range of an array.

    Files are opened in every process that reads, at its first block, and read by one thread at a time.

    Args:
        files: the files.
        stamps: by what each file is known to be the one that it was: stamps by name, its own or those of files in it.
        lengths: how many rows each has.
        rows: how many rows a block has.
        cache_bytes: see ``BlockSource``.

    Attributes:
        files: see above.
    """

    def __init__(
        self,
        files: Sequence[str],
        stamps: Sequence[Mapping[str, Stamp]],
        lengths: Sequence[int],
        rows: int,
        cache_bytes: int,
    ) -> None:
        self.files, self._stamps = list(files), list(stamps)
        self.cache_bytes = integer("cache_bytes", cache_bytes, least=0)
        begins = [np.arange(0, length, rows) for length in lengths]
        # Of each block its file, its first row there and the one behind its last.
        self._file = np.repeat(np.arange(len(begins)), [len(each) for each in begins])
        self._first: NDArray[np.int64] = np.concatenate(begins).astype(np.int64)
        self._last = np.minimum(self._first + rows, np.asarray(lengths, np.int64)[self._file])
        self._own = PerProcess(_Opened)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many rows each block has."""
        return self._last - self._first

    def block_name(self, number: int) -> str:
        """See ``BlockSource``."""
        return f"{self.files[self._file[number]]}, rows {self._first[number]:,} to {self._last[number]:,}"

    def read_block(self, number: int) -> Any:
        """Some rows of all arrays.

        Raises:
            ImportError: a library is not installed here.
            OSError: they cannot be read, or the file was changed; it is named.
        """
        file, rows = int(self._file[number]), slice(int(self._first[number]), int(self._last[number]))
        for name, stamp in self._stamps[file].items():
            stamp.check(name)
        try:
            opened = self._own.value
            with opened.lock:
                process = os.getpid()
                if opened.last is None or opened.last[:2] != (process, file):
                    opened.last = process, file, self.open(self.files[file])
                arrays = opened.last[2]
                return nest({tuple(name.split("/")): self.read(array, rows) for name, array in arrays.items()})
        except (ImportError, MemoryError):  # nothing is wrong with the file
            raise
        except Exception as error:  # whatever a library's codecs raise
            if is_interruption(error):
                raise
            raise OSError(f"{self.block_name(number)}: it cannot be read: {error!r}") from error

    @abstractmethod
    def open(self, path: str) -> Mapping[str, Any]:
        """Open a file: of each array that is wanted its name, with slashes where arrays are nested, and itself."""

    @abstractmethod
    def read(self, array: Any, rows: slice) -> Any:
        """Some rows of an array, as an array or a list."""


def rows_of_block(arrays: Iterable[tuple[int, int]], block_bytes: int) -> int:
    """How many rows a block has, so that it holds whole chunks.

    Args:
        arrays: of each the bytes of a row, and the rows of a chunk.
        block_bytes: about how many bytes a block has, unless a chunk is larger.

    >>> rows_of_block([(4, 100), (8, 150)], 10_000)
    900
    """
    sizes, chunks = zip(*arrays, strict=True)
    wanted = max(1, block_bytes // max(1, sum(sizes)))
    whole = math.lcm(*chunks)
    if whole > 16 * wanted:  # chunks that hardly ever end together: those of the largest rows count
        whole = chunks[sizes.index(max(sizes))]
    return max(1, round(wanted / whole)) * whole


def one_length(path: str, lengths: Mapping[str, int]) -> int:
    """How many rows all arrays have.

    Raises:
        ValueError: there is no array, or they differ.
    """
    if not lengths:
        raise ValueError(f"{path}: expected arrays with rows, found none")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: arrays must have equally many rows, found {dict(lengths)}; choose some of them")
    return next(iter(lengths.values()))


def check_alike(files: Sequence[str], kinds: Sequence[Mapping[str, str]]) -> None:
    """Make sure that all files have the same arrays.

    Raises:
        ValueError: they differ.
    """
    for path, kind in zip(files, kinds, strict=True):
        if kind != kinds[0]:
            names = [name for name in {**kinds[0], **kind} if kinds[0].get(name) != kind.get(name)]
            raise ValueError(
                f"files differ in array {names[0]!r}: {kinds[0].get(names[0], 'none')} in {files[0]}, "
                f"{kind.get(names[0], 'none')} in {path}"
            )


def chosen(path: str, arrays: Mapping[str, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    """The arrays that are wanted, of all that there are.

    Raises:
        ValueError: one is not there.
    """
    for name in wanted or ():
        if name not in arrays:
            raise ValueError(f"{path}: there is no array {name!r}; there are {', '.join(arrays)}")
    return dict(arrays) if wanted is None else {name: arrays[name] for name in wanted}
