"""What the user's code is told before it runs in a thread: to prepare, and the epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from datarax_mp.recipe.opened import Opened
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.user_code import Seeder, UserCode
from datarax_mp.recipe.worker_init import WorkerInit

T = TypeVar("T")


class Gate:
    """Lets threads work that are at the same epoch, where the source or a stage has a ``set_epoch``.

    They share the one object, which knows one epoch at a time. Where nobody listens, everybody may pass.

    Args:
        code: the user's code in the recipe.
    """

    def __init__(self, code: UserCode) -> None:
        self._code = code
        # ``with`` takes the lock itself: in a condition's own lines a signal handler can raise, which leaves it taken.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._epoch: int | None = None
        self._inside = 0
        self._closed = False
        self._listeners: list[tuple[str, Any]] = []

    def enter(self, epoch: int) -> None:
        """Be inside until ``leave``, at an epoch of which everybody has been told; wait for those of another epoch.

        Raises:
            Exception: what a ``set_epoch`` raised; then the caller is not inside.
        """
        with self._lock:
            if not self._listeners:
                self._inside += 1
                return
            self._changed.wait_for(lambda: not self._inside or self._epoch == epoch)
            if self._epoch != epoch:
                self._epoch = None
                self._code.tell(self._listeners, epoch)
                self._epoch = epoch
            self._inside += 1

    def leave(self) -> None:
        """Be inside no longer."""
        with self._lock:
            self._inside -= 1
            self._changed.notify_all()
            self._leave_sources()

    def close(self) -> None:
        """Have the sources left that are context managers: now, or by the last one who is inside."""
        with self._lock:
            self._closed = True
            self._leave_sources()

    def _leave_sources(self) -> None:
        # Under the lock, so that nobody comes in and enters them meanwhile.
        if self._closed and not self._inside:
            self._code.opened.leave()

    def begin(self) -> None:
        """Another iterator begins: what listens may have been changed, and is told anew."""
        listeners = self._code.listeners() if self._code.there else []
        with self._lock:
            self._closed = False
            self._listeners = listeners
            if not self._inside:
                self._epoch = None


class ThreadsCode(UserCode):
    """The user's code in one thread: prepared once in it; its draws from global generators are nobody's to seed.

    Args:
        recipe: the recipe.
        opened: the sources that have been entered, which all threads share.
    """

    def __init__(self, recipe: Recipe, opened: Opened) -> None:
        super().__init__(recipe, opened)
        self._prepare = None if recipe.init is None else WorkerInit(recipe.init.fn)
        self._drew = False

    @property
    def draws(self) -> bool:
        """Whether it has been seen to draw from global generators."""
        return self._drew

    @draws.setter
    def draws(self, known: bool) -> None:
        self._drew = known

    def watch(self, epoch: int, work: Callable[[], T]) -> T:
        """Do work, and find out whether it draws: by a second look, if the first one says so.

        A library that it has imported is none that it has drawn from, and another thread may have drawn meanwhile.
        """
        result = super().watch(epoch, work)
        return super().watch(epoch, work) if self.draws else result

    def enter(self, epoch: int) -> None:
        """Prepare the thread, and the sources for all of them; of the epoch the gate tells."""
        if self._prepare is not None:
            self._prepare()
        self.opened.enter()

    def seeder(self) -> Seeder | None:
        """Nothing is seeded: another thread would draw from it."""
        return None

    def try_out(self, work: Callable[[], T]) -> T:
        """Do work, once."""
        return work()
