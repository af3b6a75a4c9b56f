"""Whether this process may be forked, and what its children may share with it.

A process may be forked when it has one thread: a fork copies the locks that others hold in whatever state they are. Of
some threads it is known that who starts them sees to that (``pthread_atfork``). And its children may share an object as
long as that holds nothing of which there is only one: of an open file they would all move the same position, and read
each other's records.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Collection
from typing import Any

from datarax_mp.crews.processes.protocol import Fitness

_TASKS, _DESCRIPTORS = "/proc/self/task", "/proc/self/fd"
_SAFE = ("jemalloc_bg_thd",)  # that of pyarrow, so of pandas and datasets, too; its locks are taken for the fork
_HARMLESS = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")  # have no position
_MOST_NAMED = 3

File = tuple[int, int]  # device and inode


def open_files() -> dict[int, File]:
    """What stands behind each descriptor of this process; empty where the system does not say (see ``threads``)."""
    files = {}
    try:
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]
    except OSError:
        return {}
    for descriptor in descriptors:
        try:
            stat = os.fstat(descriptor)
        except OSError:
            continue  # the one that the directory was listed through
        files[descriptor] = stat.st_dev, stat.st_ino
    return files


def can_tell() -> bool:
    """Whether this system says which threads and files a process has."""
    return os.path.isdir(_TASKS) and os.path.isdir(_DESCRIPTORS)


def threads() -> list[str] | None:
    """The names of all threads but the first, whoever started them (``threading`` knows its own only).

    None where the system does not say.
    """
    try:
        return [_first_line(f"{_TASKS}/{task}/comm") for task in os.listdir(_TASKS) if int(task) != os.getpid()]
    except OSError:
        return None


def still_open(before: dict[int, File], ours: Collection[File]) -> list[str]:
    """The names of files that have been opened since ``before`` and are no memory of ours."""
    names = []
    for descriptor, file in open_files().items():
        if before.get(descriptor) == file or file in ours:
            continue
        try:
            name = os.readlink(f"{_DESCRIPTORS}/{descriptor}")
        except OSError:
            continue
        if name not in _HARMLESS:
            names.append(name)
    return names


def fitness(before: dict[int, File], ours: Collection[File], *, inherits: bool) -> Fitness:
    """Say whether this process may be forked, once the objects have gone that its children must not share.

    Args:
        before: what was open before a recipe was loaded.
        ours: what may have been opened since.
        inherits: whether the recipe is still there.
    """
    trouble = ""
    names = threads()
    unsafe = [name for name in names or () if name not in _SAFE]
    if names is None:
        trouble = "this system does not say which threads a process has"
    elif unsafe:
        trouble = f"it has started threads ({_some(unsafe)})"
    elif files := still_open(before, ours):
        trouble = f"it has left files open ({_some(files)})"
    return Fitness(frozenset(sys.modules), inherits, trouble)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _first_line(path: str) -> str:
    with open(path, errors="replace") as file:  # a name may end in the middle of a character
        return file.readline().rstrip()


class Inheritance:
    """The recipe that a forked worker finds in its memory, and what stands behind it.

    Args:
        recipe_id: what main calls it.
        recipe: the recipe, or None if its workers have to load it themselves.
        memory: the files behind the shared memory that it looks into.
    """

    def __init__(self, recipe_id: int = 0, recipe: Any = None, memory: frozenset[File] = frozenset()) -> None:
        self.recipe_id, self.recipe, self.memory = recipe_id, recipe, memory

    def take(self, recipe_id: int) -> Any:
        """The recipe if it is this one, otherwise None; the next time there is nothing left."""
        recipe, self.recipe = self.recipe, None
        return recipe if recipe_id == self.recipe_id else None

    def forget(self, recipe_id: int) -> None:
        """Let go of the recipe, if it is this one."""
        if recipe_id == self.recipe_id:
            self.recipe = None
            self.let_go()

    def let_go(self) -> None:
        """Called when nobody refers to the recipe any more: see to it that its memory goes back.

        What was there at the fork is out of the garbage collector's sight (``gc.freeze``), since looking at it would
        make a copy of its pages; so a recipe that refers to itself would hold its memory for ever.
        """
        memory, self.memory = self.memory, frozenset()
        if memory and not memory.isdisjoint(open_files().values()):
            gc.unfreeze()
            gc.collect()
            gc.freeze()
