"""What the user's code may count on, wherever it runs: it was set up, it was told the epoch, it draws the same numbers.

    worker_init()  once in a process                       }
    __enter__()    of sources that are context managers    }  before the first record of a run
    set_epoch(n)   when the epoch is another than before   }
    seeded global generators                                  before each step, if it draws from them

All of this is done where records are read, by the worker or by the calling process, so that it holds for every number
of workers, for a worker that takes another's place, and for one that goes back to an earlier epoch's runs.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from datarax_mp.core.strays import claim, is_stray
from datarax_mp.recipe.inside import Found, find
from datarax_mp.recipe.opened import Opened
from datarax_mp.recipe.randomness import can_glance, glance, imported, is_alone, seed_globals, seed_unseen, unseen
from datarax_mp.recipe.recipe import Recipe, named_parts
from datarax_mp.recipe.recorder import Phase, here
from datarax_mp.sources.memory_source import MemorySource

T = TypeVar("T")

_drawing: weakref.WeakSet[Recipe] = weakref.WeakSet()  # found out once in a process, not once an epoch
Seeder: TypeAlias = Callable[[int, int], object]  # epoch, position


class UserCode:
    """The user's code in a recipe, in this process: the source, or what the stages call.

    Args:
        recipe: the recipe.
        opened: where it is noted which sources have been entered, if others share them; None is alone.

    Attributes:
        there: whether there is any. What this package reads and does alone needs none of the following.
        opened: the sources that are context managers.
    """

    # Whose code was told an epoch last in this process, and which; it must not keep a recipe's memory.
    _current: tuple[weakref.ref[UserCode], int] | None = None

    def __init__(self, recipe: Recipe, opened: Opened | None = None) -> None:
        self.opened = Opened(recipe.source) if opened is None else opened
        self._source, self._stages, self._init = recipe.source, recipe.stages, recipe.init
        self._seed = recipe.order.seed
        self.there = recipe.user_code
        self._recipe = weakref.ref(recipe)
        self._draws = recipe in _drawing or not can_glance()

    @property
    def draws(self) -> bool:
        """Whether it is known to draw from global generators, so that they are seeded for each step."""
        return self._draws

    @draws.setter
    def draws(self, known: bool) -> None:
        if known and not self._draws:
            self._draws = True
            if (recipe := self._recipe()) is not None:
                _drawing.add(recipe)

    def enter(self, epoch: int) -> None:
        """Before a record is read: make the process ready, and tell of the epoch.

        Several recipes may share a source in one process, and a process may go to and fro between two epochs, so
        everybody is told whenever it was not this recipe and this epoch that was told last.
        """
        if not self.there:
            return
        if UserCode._current == (weakref.ref(self), epoch):
            self.opened.enter()  # they may have been left meanwhile, by who closed the pipeline
            return
        UserCode._current = None
        here.phase(Phase.LOADING)
        if self._init is not None:
            self._init()
        self.opened.enter()
        self.tell(self.listeners(), epoch)
        UserCode._current = weakref.ref(self), epoch

    def leave(self) -> None:
        """The process is through with the recipe: sources that are context managers are left."""
        if UserCode._current is not None and UserCode._current[0]() is self:
            UserCode._current = None
        self.opened.leave()

    def seeder(self) -> Seeder | None:
        """What is to be called before each step, with its epoch and the position of its first record, if anything."""
        if self.draws:
            return functools.partial(seed_globals, self._seed)
        return functools.partial(seed_unseen, self._seed) if unseen() else None

    def watch(self, epoch: int, work: Callable[[], T]) -> T:
        """Do work that belongs to no step, and find out whether it draws."""
        seed_globals(self._seed, epoch, -1)
        before = glance()
        try:
            return work()
        finally:
            self.draws = glance() != before

    def try_out(self, work: Callable[[], T]) -> T:
        """Do work with the generators seeded only as far as need be, and find out whether that was enough.

        If something was drawn without a seed, the work is done again; that happens once in a process. Where another
        thread may have drawn it, the work is done once more before that, to see whether something is drawn again.
        """
        look = imported if self.draws else glance  # a generator that is only now imported is not seeded yet
        process, sure = os.getpid(), self.draws
        while True:
            before = look()
            try:
                result = work()
            except Exception as error:
                # Python seeds ``random`` anew in a process that the user's code forks, which must do nothing more here.
                if look() == before or is_stray(error) or os.getpid() != process:
                    raise
            else:
                if look() == before or os.getpid() != process:
                    return result
            if sure or is_alone():
                break
            sure = True
        self.draws = True
        return work()

    def listeners(self) -> list[tuple[str, Any]]:
        """Who wants to know the epoch, wherever it stands in the source or a stage."""
        return list(listeners(self._source, self._stages))

    @staticmethod
    def tell(listeners: Iterable[tuple[str, Any]], epoch: int) -> None:
        """Tell them the epoch."""
        for name, listener in listeners:
            try:
                listener.set_epoch(epoch)
            except Exception as error:
                claim(error, f"while {name}.set_epoch({epoch}) was called")
                raise

    def begin(self) -> None:
        """Before an epoch in the calling process, where the user may have changed anything since the last one."""
        UserCode._current = None
        if not self.there and type(self._source) is MemorySource:
            self._source.refresh()
            return
        for _, source in find(named_parts(self._source, self._stages), lambda value: isinstance(value, MemorySource)):
            source.refresh()


def listeners(source: Any, stages: Sequence[Any]) -> list[Found]:
    """Who in a source and in stages wants to know the epoch, and where it stands."""
    return find(named_parts(source, stages), _listens)


def _listens(value: Any) -> bool:
    # Not by ``hasattr``: an object that answers to any name (a mock, a lazy proxy) does not follow this habit.
    own = getattr(value, "__dict__", None)
    return callable(getattr(type(value), "set_epoch", None)) or (
        isinstance(own, dict) and callable(own.get("set_epoch"))
    )
