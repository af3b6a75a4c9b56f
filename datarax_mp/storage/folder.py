"""The folder in which what was read of files elsewhere is kept, shared by any number of processes.

Whoever makes an entry or makes room holds a lock on the folder, which the system lets go of when that process ends, and
renames: what has an entry's name is one, and what has another name is the rest of a process that was killed. Reading
takes no lock: an entry that is taken out while it is open lives on until it is closed.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass
from io import FileIO

from datarax_mp.core.descriptors import above_standard
from datarax_mp.core.refusals import is_refusal, unless_refused
from datarax_mp.storage.entry import Entry, create
from datarax_mp.storage.remote import Remote

_MOST_OPEN = 64
_UNFINISHED = ".part-"
_LOCK = ".lock"
_BLOCK = 512  # bytes in what stat calls a block

_open: OrderedDict[tuple[int, str, str], Entry] = OrderedDict()
_lock = threading.RLock()


@dataclass
class _Known:
    """What a process knows of a folder.

    Attributes:
        total: the bytes that it takes.
        written: those of them that this process has written since it has looked.
    """

    total: int
    written: int = 0


_known: dict[tuple[int, str], _Known] = {}


def entry_of(file: Remote) -> Entry:
    """A file's entry, made where there is none; those that were used last stay open.

    Raises:
        OSError: the cache folder cannot be used; what to do is told.
    """
    folder = file.storage.folder
    key = os.getpid(), folder, file.key
    with _lock:
        entry = _open.get(key)
        if entry is None or entry.is_gone:
            entry = _open[key] = _opened(folder, file)
            if len(_open) > _MOST_OPEN:
                _open.popitem(last=False)
        _open.move_to_end(key)
        return entry


def _opened(folder: str, file: Remote) -> Entry:
    place = os.path.join(folder, file.key)
    try:
        while True:
            try:
                return Entry(place, file.size)
            except FileNotFoundError:
                _make(folder, place, file.size)
    except OSError as error:
        if not is_refusal(error):
            raise
        raise OSError(
            error.errno,
            f"{file}: the cache folder {folder} cannot be used: {error.strerror or error}. Say another one: "
            "Storage(cache_folder=...)",
        ) from error


def _make(folder: str, place: str, size: int) -> None:
    os.makedirs(folder, exist_ok=True)
    with _locked(folder):
        if not os.path.isdir(place):
            unfinished = place + _UNFINISHED
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed here
            create(unfinished, size)
            os.rename(unfinished, place)


def make_room(folder: str, most: int, wanted: int, keep: Container[str]) -> None:
    """Take out what was used least recently, until there is room.

    The folder is looked through only now and then: others may have written a thousandth of its size meanwhile, each.

    Args:
        folder: the cache folder.
        most: how many bytes it may take.
        wanted: how many are about to be written.
        keep: the keys of the entries that they are for.
    """
    with _lock:
        known = _known.get((os.getpid(), folder))
        if known is not None and known.written + wanted <= most // 1000 and known.total + wanted <= most:
            known.written += wanted
            known.total += wanted
            return
        with _locked(folder):
            _known[os.getpid(), folder] = _Known(_made_room(folder, most, wanted, keep))


def _made_room(folder: str, most: int, wanted: int, keep: Container[str]) -> int:
    """The bytes that are taken then, with those that are wanted."""
    entries: list[tuple[int, int, str]] = []  # when it was used last, its bytes, its name
    for name in os.listdir(folder):
        place = os.path.join(folder, name)
        if _UNFINISHED in name:
            shutil.rmtree(place, ignore_errors=True)
        elif name != _LOCK:
            try:
                data, have = (os.stat(os.path.join(place, part)) for part in ("data", "have"))
            except OSError as error:  # nothing of ours
                if not is_refusal(error):
                    raise
                continue
            entries.append((have.st_mtime_ns, data.st_blocks * _BLOCK, name))
    taken = wanted + sum(size for _, size, _ in entries)
    for _, size, name in sorted(entries):
        if taken <= most:
            break
        if name not in keep and _take_out(os.path.join(folder, name)):
            taken -= size
    return taken


def _take_out(place: str) -> bool:
    """Take out an entry, unless somebody holds it."""
    import fcntl

    file = unless_refused(lambda: above_standard(os.open(os.path.join(place, "data"), os.O_RDONLY | os.O_CLOEXEC)), -1)
    if file < 0:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(place, place + _UNFINISHED)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    shutil.rmtree(place + _UNFINISHED, ignore_errors=True)
    return True


def held(path: str) -> FileIO:
    """What keeps an entry from being taken out, within a ``with`` block; ``path`` is that of its data."""
    return _flocked(path, shared=True)


def alone(path: str) -> FileIO:
    """What nobody else has within a ``with`` block, of all threads and processes."""
    return _flocked(path, shared=False)


def _locked(folder: str) -> FileIO:
    return _flocked(os.path.join(folder, _LOCK), shared=False)


def _flocked(path: str, *, shared: bool) -> FileIO:
    """A file with a lock, which goes when it is closed: at the latest when nobody has it, whatever has been raised."""
    import fcntl  # delayed: not everywhere

    file = FileIO(above_standard(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)), "r+")
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    return file
