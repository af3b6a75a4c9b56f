"""Records in files, of several processes and pipelines at once, and of the next run.

Each process that writes has two files of its own, to which it appends: a record, and then its line in the index. So
nobody waits for anybody, and a process that is killed leaves a record without a line, or half a line, neither of which
counts. Everybody reads all indices, and those that have grown again when a record is missed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import weakref
from collections import OrderedDict

import numpy as np

from datarax_mp.cache.folder import DATA, INDEX, Folder, opened
from datarax_mp.cache.index import LINE, line, lines_of
from datarax_mp.cache.locks import fcntl
from datarax_mp.cache.packing import Bytes
from datarax_mp.cache.sealed import ALIGNED, Sealer, write
from datarax_mp.core.descriptors import Identity, close_known, identity
from datarax_mp.core.refusals import in_words, is_refusal
from datarax_mp.core.spec import align

log = logging.getLogger("datarax_mp")

_MOST_OPEN = 32  # files of others, for reading
_FILE_SHIFT = 40  # a record's place: the file's number, and where it begins there, in units of what is aligned
_STARTS = (1 << _FILE_SHIFT) - 1


class DiskStore:
    """See ``Store``.

    Args:
        folder: where.
        key: the fingerprint.
        sealer: makes bytes of records.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Folder, key: str, sealer: Sealer) -> None:
        self._folder, self._path, self._sealer = folder, os.path.join(folder.path, key), sealer
        self._held = _Held()
        weakref.finalize(self, self._held.close).atexit = False
        self._held.add(folder.enter(key))
        self._places = np.full(0, -1, np.int64)
        self._names: list[str] = []  # without their suffix, by the files' numbers
        self._seen: dict[str, int] = {}  # bytes of each index that have been read
        self._reading: OrderedDict[int, int] = OrderedDict()  # descriptors, by the files' numbers
        self._writer: _Writer | None = None
        self._full = False
        self._refresh()

    def has(self, number: int) -> bool:
        """See ``Store``."""
        if self._place(number) < 0:
            self._refresh()
        return self._place(number) >= 0

    def get(self, number: int) -> Bytes | None:
        """See ``Store``."""
        if not self.has(number):
            return None
        place = self._place(number)
        file, start = place >> _FILE_SHIFT, (place & _STARTS) * ALIGNED
        try:
            packed = self._sealer.open(self._descriptor(file), start, number)
        except OSError as error:
            if not is_refusal(error):
                raise
            packed = None
        if packed is None:
            self._places[number] = -1
        return packed

    def put(self, number: int, packed: Bytes) -> None:
        """See ``Store``."""
        if self._full:
            return
        try:
            if self._writer is None or not self._writer.own:
                self._writer = self._held.writer = _Writer(self._folder, self._path, self._held)
            if not self._writer.append(number, self._sealer.seal(number, packed)):
                self._full = True
                log.info("Cache: the budget for %s is used up; further records are not kept", self._folder.path)
        except OSError as error:
            if not is_refusal(error):
                raise
            self._full = True
            log.warning(
                "Cache: this process keeps no further records in %s, and computes them every time: %s",
                self._folder.path,
                in_words(error),
            )

    def _place(self, number: int) -> int:
        return int(self._places[number]) if 0 <= number < len(self._places) else -1

    def _refresh(self) -> None:
        """Read what indices have got since they were read last."""
        try:
            with os.scandir(self._path) as entries:
                found = [(entry.name, entry.stat().st_size) for entry in entries if entry.name.endswith(INDEX)]
        except OSError as error:  # somebody has removed it
            if not is_refusal(error):
                raise
            return
        for name, size in found:
            if size - self._seen.get(name, 0) >= LINE.itemsize:
                self._read_index(name)

    def _read_index(self, name: str) -> None:
        try:
            file = opened(os.path.join(self._path, name), os.O_RDONLY)
        except OSError as error:
            if not is_refusal(error):
                raise
            return
        try:
            lines = lines_of(file, self._seen.get(name, 0))
        finally:
            os.close(file)
        if name not in self._seen:
            self._names.append(name.removesuffix(INDEX))
        number = self._names.index(name.removesuffix(INDEX))
        self._seen[name] = self._seen.get(name, 0) + lines.nbytes
        lines = lines[(lines["size"] > 0) & (lines["number"] >= 0)]
        if not len(lines):
            return
        if (most := int(lines["number"].max())) >= len(self._places):
            more = np.full(max(most + 1, 2 * len(self._places)) - len(self._places), -1, np.int64)
            self._places = np.concatenate([self._places, more])
        self._places[lines["number"]] = number << _FILE_SHIFT | lines["start"] // ALIGNED

    def _descriptor(self, number: int) -> int:
        file = self._reading.get(number)
        if file is None:
            if len(self._reading) >= _MOST_OPEN:
                self._held.remove(self._reading.popitem(last=False)[1])
            path = os.path.join(self._path, self._names[number] + DATA)
            file = self._reading[number] = self._held.add(opened(path, os.O_RDONLY))
        self._reading.move_to_end(number)
        return file


class _Writer:
    """The two files of this process."""

    def __init__(self, folder: Folder, path: str, held: _Held) -> None:
        self._folder, self._process = folder, os.getpid()
        name = os.path.join(path, f"{self._process}-{secrets.token_hex(8)}")
        self._index = held.add(opened(name + INDEX, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        fcntl.flock(self._index, fcntl.LOCK_EX)  # says that its writer lives
        self._data = held.add(opened(name + DATA, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        self._known = self._identity()
        self._end = self._granted = self._lines = 0

    @property
    def own(self) -> bool:
        """Whether these still are this process's files: it may have been forked, or other code may have closed them."""
        return self._process == os.getpid() and self._identity() == self._known

    def append(self, number: int, parts: list[memoryview]) -> bool:
        """Write a record; whether there was room.

        Raises:
            OSError: there is none on the disk, or it cannot be written to.
        """
        size = sum(part.nbytes for part in parts)
        start, end = self._end, self._end + align(size, ALIGNED)
        if end > self._granted:
            self._granted = self._folder.grant(self._data, start, end - start)
            if end > self._granted:
                return False
        write(self._data, start, parts)
        # Moved on first: whatever comes in between, no record is written over one that a line speaks of.
        self._end, place = end, self._lines
        self._lines += LINE.itemsize
        write(self._index, place, [line(number, start, end - start)])
        return True

    def finish(self) -> None:
        """Give back what was granted and is not used; of a writer that is killed, others do that."""
        if self.own and self._end < self._granted:
            self._granted = self._end
            with contextlib.suppress(OSError):  # then it stays granted until somebody needs room
                os.truncate(self._data, self._end)

    def _identity(self) -> tuple[Identity, Identity]:
        return identity(self._data), identity(self._index)


class _Held:
    """Descriptors that are closed with whoever has them.

    Attributes:
        writer: who writes to some of them.
    """

    def __init__(self) -> None:
        self._known: dict[int, Identity] = {}
        self.writer: _Writer | None = None

    def add(self, file: int) -> int:
        """Close this one, too."""
        self._known[file] = identity(file)
        return file

    def remove(self, file: int) -> None:
        """Close this one now."""
        close_known(file, self._known.pop(file))

    def close(self) -> None:
        """Close all of them."""
        if self.writer is not None:
            self.writer.finish()
        while self._known:
            close_known(*self._known.popitem())
