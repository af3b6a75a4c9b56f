"""The folder of a cache: who uses which fingerprint, who may write how much, and what goes when there is no room.

    folder / lock                     held for the moment in which any of that is decided
             <fingerprint> / lock     held, shared, by everybody who reads or writes there; its time says when last
                             *.data   records of one writer, as long as it was granted; a dead one's is cut
                             *.index  which records, and where; held by its writer as long as that lives

Locks are the system's (``flock``), which end with their holder, so that no kill leaves anything locked. What is taken
is what the files' lengths say: there is no account that could be wrong.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator

from datarax_mp.cache.index import lines_of
from datarax_mp.cache.locks import fcntl
from datarax_mp.core.descriptors import above_standard
from datarax_mp.core.refusals import in_words, is_refusal

log = logging.getLogger("datarax_mp")

DATA, INDEX, LOCK = ".data", ".index", "lock"

_KEY = re.compile(r"[0-9a-f]{32}")
_GONE = ".gone-"
_GRANTS, _MOST_GRANT = 64, 64 << 20


class Folder:
    """See the module.

    Args:
        path: the folder, absolute.
        budget: bytes that all files in it may take.
    """

    def __init__(self, path: str, budget: int) -> None:
        self.path, self._budget = path, budget

    def check(self) -> None:
        """Make the folder, and make sure that it can be written to.

        Raises:
            OSError: it cannot; the message says why.
        """
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            with self._alone():
                pass
        except OSError as error:
            if not is_refusal(error):
                raise
            raise type(error)(
                error.errno, f"Cache cannot keep records in {self.path}: {in_words(error)}. Give it another folder"
            ) from error

    def enter(self, key: str) -> int:
        """The descriptor that says that a fingerprint's files are in use, for as long as it is open.

        Raises:
            OSError: it cannot be written to.
        """
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        with self._alone():
            os.makedirs(os.path.join(self.path, key), mode=0o700, exist_ok=True)
            lock = os.path.join(self.path, key, LOCK)
            file = opened(lock, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(file, fcntl.LOCK_SH)
                os.utime(file)
            except BaseException:
                os.close(file)
                raise
        return file

    def grant(self, file: int, end: int, wanted: int) -> int:
        """Let a file grow, if need be at the cost of what nobody uses.

        Args:
            file: its descriptor.
            end: bytes that are written.
            wanted: bytes that are to come, at least.

        Returns:
            Up to where it may be written; ``end`` if there is no room.

        Raises:
            OSError: it cannot be written to.
        """
        size = max(wanted, min(self._budget // _GRANTS, _MOST_GRANT))
        with self._alone():
            used = self._used()
            if used + size > self._budget:
                used = self._make_room(size)
            size = min(size, self._budget - used)
            if size < wanted:
                return end
            os.truncate(file, end + size)
        return end + size

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        file = opened(os.path.join(self.path, LOCK), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _keys(self) -> list[str]:
        return [name for name in os.listdir(self.path) if _KEY.fullmatch(name)]

    def _used(self) -> int:
        """Bytes of all files of all fingerprints."""
        return sum(size for key in self._keys() for _, size in _files(os.path.join(self.path, key)))

    def _make_room(self, size: int) -> int:
        """Throw away what nobody needs, the longest unused first, until there is room; the bytes that are left."""
        for name in os.listdir(self.path):
            if _GONE in name:  # whoever was at it has died
                shutil.rmtree(os.path.join(self.path, name), ignore_errors=True)
        for key in self._keys():
            _cut_dead(os.path.join(self.path, key))
        used = self._used()
        for key in sorted(self._keys(), key=lambda key: _last_used(os.path.join(self.path, key))):
            if used + size <= self._budget:
                break
            if self._throw_away(key):
                used = self._used()
        return used

    def _throw_away(self, key: str) -> bool:
        """Whether nobody used it, and it has gone."""
        path = os.path.join(self.path, key)
        try:
            file = opened(os.path.join(path, LOCK), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if not is_refusal(error):
                raise
            return False
        try:
            if not held_by_nobody(file):
                return False
            gone = f"{path}{_GONE}{secrets.token_hex(4)}"
            os.rename(path, gone)  # so that it has gone at once
            shutil.rmtree(gone, ignore_errors=True)
        finally:
            os.close(file)
        log.info("Cache: %s was not in use, and made room for others", path)
        return True


def is_kept(path: bytes) -> bool:
    """Whether a folder within another one is where a ``Cache`` keeps what belongs to a fingerprint."""
    key, gone, _ = os.fsdecode(os.path.basename(path)).partition(_GONE)
    if _KEY.fullmatch(key) is None:
        return False
    return bool(gone) or os.path.exists(os.path.join(path, LOCK.encode()))


def opened(path: str, flags: int) -> int:
    """A descriptor of a file, which only this user may open.

    Raises:
        OSError: there is none.
    """
    return above_standard(os.open(path, flags | os.O_CLOEXEC, 0o600))


def held_by_nobody(file: int) -> bool:
    """Whether nobody holds a file's lock; then the caller does, as long as it is open."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _files(path: str) -> list[tuple[str, int]]:
    """The files of a fingerprint, and their bytes."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                found.append((entry.path, entry.stat().st_size))
    return found


def _last_used(path: str) -> float:
    try:
        return os.stat(os.path.join(path, LOCK)).st_mtime
    except FileNotFoundError:
        return 0.0


def _cut_dead(path: str) -> None:
    """Cut the files of writers that have ended to what they hold."""
    for name, size in _files(path):
        if not name.endswith(DATA):
            continue
        try:
            index = opened(name.removesuffix(DATA) + INDEX, os.O_RDWR)
        except FileNotFoundError:  # it ended before it wrote anything
            os.unlink(name)
            continue
        try:
            if held_by_nobody(index) and (end := end_of(index)) < size:
                os.truncate(name, end)
        finally:
            os.close(index)


def end_of(index: int) -> int:
    """Where the last record ends of which an index says so."""
    lines = lines_of(index, 0)
    return int((lines["start"] + lines["size"]).max()) if len(lines) else 0
