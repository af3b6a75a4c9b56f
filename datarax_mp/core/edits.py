"""Noticing that the user's code is no longer what it was: modules that were reloaded, files that were edited.

    reloaded, or imported anew      main runs the new code: workers that may have imported the old one are retired
    edited and not reloaded         main runs the old code: so must workers, and what they need of it travels by value
    edited, never imported by main  see ``forget_edited``, for workers

The rule behind it: what main has is what workers run, as with ``num_workers=0``. IPython's autoreload reloads, or
changes functions in place; either way main has the new code, and so have the workers.

Only what the user works on is watched, not Python and installed packages. It costs a ``stat`` for each such module,
once per epoch.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType

from datarax_mp.core.origin import file_of, is_installed
from datarax_mp.core.refusals import unless_refused

log = logging.getLogger("datarax_mp")

Stamp = tuple[int, int]  # a file's time of modification and size

_PYC_STAMP = slice(8, 16)  # time of modification and size of the source in the head of a .pyc (PEP 552)
_NOT_WATCHED = ("__main__", "__mp_main__", __name__.partition(".")[0])
_users: tuple[int, dict[str, str]] = (0, {})  # how many modules there were, and the user's with their files
_born = time.time()
_since = _born  # when a worker's modules were forgotten the last time; before that, when it did not exist yet


@dataclass(frozen=True, slots=True)
class _Seen:
    module: ModuleType
    spec: ModuleSpec | None  # replaced by every reload
    file: str
    stamp: Stamp | None  # None if there is no such file


class Edits:
    """What is known of the modules of this process. Use ``code_version`` and ``is_edited``."""

    def __init__(self) -> None:
        self.version = 0
        self.edited: dict[str, _Seen] = {}
        self._seen: dict[str, _Seen] = {}
        self._passed = {*_NOT_WATCHED, *sys.stdlib_module_names}  # modules and whole packages
        self._modules = 0  # how many there were when they were looked through
        self._lock = threading.RLock()

    def look(self) -> int:
        """Look for changes and return the version of the code that there is now."""
        with self._lock:
            changed = [name for name, seen in list(self._seen.items()) if self._changed(name, seen)]
            if changed or len(sys.modules) != self._modules:
                changed += [name for name, module in list(sys.modules.items()) if self._meet(name, module)]
                self._modules = len(sys.modules)
            if changed:
                self.version += 1
                if self.version > 1:
                    log.debug("code has changed: %s", ", ".join(changed))
        return self.version

    def _changed(self, name: str, seen: _Seen) -> bool:
        module = sys.modules.get(name)
        if module is not seen.module or getattr(module, "__spec__", None) is not seen.spec:
            del self._seen[name]
            self.edited.pop(name, None)
            if module is not None:
                self._meet(name, module)
            return True
        stamp = _stamp(seen.file)
        if stamp == seen.stamp:
            return False
        self._seen[name] = self.edited[name] = _Seen(seen.module, seen.spec, seen.file, stamp)
        return True

    def _meet(self, name: str, module: object) -> bool:
        """Take note of a module that is new; whether a worker may have imported it as it was earlier."""
        package = name.partition(".")[0]
        if name in self._seen or name in self._passed or package in self._passed:
            return False
        file = file_of(module) if isinstance(module, ModuleType) and name not in _NOT_WATCHED else None
        if file is None or is_installed(file):
            self._passed.add(name)
            return False
        assert isinstance(module, ModuleType)
        spec, stamp = getattr(module, "__spec__", None), _stamp(file)
        self._seen[name] = seen = _Seen(module, spec, file, stamp)
        if stamp is None or stamp[0] < _born * 1e9:
            return self.version == 0
        if _is_newer_than_import(spec, stamp):
            self.edited[name] = seen
        return True


_edits = Edits()


def code_version() -> int:
    """A number that is another one whenever modules have been reloaded or their files have changed."""
    return _edits.look()


def last_code_version() -> int:
    """What ``code_version`` has said last, without looking."""
    return _edits.version


def is_edited(name: str) -> bool:
    """Whether the file of a module has changed, as far as is known, while this process still has the old code."""
    return name in _edits.edited


def trust_files() -> list[str]:
    """Let workers import the modules that were edited, although they then get other code; return their names."""
    names = list(_edits.edited)
    _edits.edited.clear()
    return names


def forget_edited() -> None:
    """In a worker: forget the user's modules if a file of theirs was edited since it imported the first of them.

    They are imported anew when they are needed, as by a worker that starts now. For modules that main has it does not
    come to that; but a stage may import others while it runs.
    """
    global _since
    files = users_files()
    if any((stamp := _stamp(file)) is not None and stamp[0] > _since * 1e9 for file in files.values()):
        _since = time.time()
        for name in files:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()


def users_files() -> dict[str, str]:
    """The user's modules and their files.

    Looked through anew only where modules have come or gone: in a forked worker every module that is touched costs a
    page of memory, so that the process it is forked of looks before (see ``template``).
    """
    global _users
    if len(sys.modules) != _users[0]:
        files = {
            name: file
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] not in _NOT_WATCHED
            and isinstance(module, ModuleType)
            and (file := file_of(module)) is not None
            and not is_installed(file)
        }
        _users = len(sys.modules), files
    return _users[1]


def _stamp(file: str) -> Stamp | None:
    found = unless_refused(lambda: os.stat(file), None)
    return None if found is None else (found.st_mtime_ns, found.st_size)


def _beginning(compiled: str) -> bytes:
    with open(compiled, "rb") as file:
        return file.read(16)


def _is_newer_than_import(spec: ModuleSpec | None, stamp: Stamp) -> bool:
    """Whether a source was changed after it had been imported: its compiled form then says of an earlier one."""
    if spec is None or (cached := spec.cached) is None:
        return False
    head = unless_refused(partial(_beginning, cached), b"")
    flags = head[4:8]
    current = (stamp[0] // 10**9 & 0xFFFFFFFF).to_bytes(4, "little") + (stamp[1] & 0xFFFFFFFF).to_bytes(4, "little")
    return len(head) == 16 and flags == bytes(4) and head[_PYC_STAMP] != current
