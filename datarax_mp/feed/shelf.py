"""Blocks of a source, each read once for all workers: which is to be read next, and which lie ready.

    coming windows ---> due: steps that are handed out need them ----+
                   ---> ahead: the steps behind those do ------------+--> read by some worker --> ready --> passed
                                                                                        (or it failed)

Windows say which steps need which blocks (``order.readings``). Blocks that are due are read before anything else is
done. Those of the windows behind are read while there are steps of this one to be handed out, evenly, so that they are
there when their turn comes, and whenever a worker would idle. There are so many windows at a time, and no more. A block
that could not be read counts as ready and is not there: whoever needs it tries it again, and says what is wrong with
it.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from datarax_mp.crews.base import Answer, Shelving
from datarax_mp.order.readings import Needed
from datarax_mp.recipe.work import ReadBlock, Shelved
from datarax_mp.ring.segment import megabytes

log = logging.getLogger("datarax_mp")

COMING = 4  # blocks that a worker hears of before it is to read them

At: TypeAlias = tuple[int, int]  # an epoch, and a step of it


class _Window:
    """Blocks that some steps need.

    Args:
        needed: which blocks, and which steps.
        seen: how far steps had been handed out when it was first looked at.

    Attributes:
        first: the first of these steps.
        last: the last one.
        unread: the blocks that nobody has been asked for yet.
        missing: how many have not come yet.
        ready: those that have been read, by number.
    """

    def __init__(self, needed: Needed, seen: At) -> None:
        self.first, self.last, self._seen = (needed.epoch, needed.first), (needed.epoch, needed.last), seen
        self.unread = deque(needed.blocks.tolist())
        self.missing = self.blocks = len(self.unread)
        self.ready: dict[int, Shelved] = {}

    def behind_time(self, at: At) -> bool:
        """Whether fewer of its blocks have been asked for than are to be by this step, so that all are by its first."""
        if self.first[0] != at[0] or self._seen[0] != at[0]:
            return True
        asked, gone = self.blocks - len(self.unread), at[1] - self._seen[1] + 1
        return asked * (self.first[1] - self._seen[1]) < self.blocks * gone


class Shelf:
    """See the module.

    Args:
        windows: what steps need, in the order in which they begin to.
        most: how many windows there are at a time, unless a single step needs more.
        budget: bytes that all blocks together may take, or None.
        ahead: whether blocks are read before they are due.
    """

    def __init__(self, windows: Iterator[Needed], *, most: int, budget: int | None, ahead: bool) -> None:
        self._coming, self._most, self._budget, self._ahead = windows, most, budget, ahead
        self._next = next(windows, None)
        self._windows: deque[_Window] = deque()  # in the order of their first steps
        self._reading: dict[Shelving, _Window] = {}  # in the order in which they were asked for
        self._largest = 0

    def due(self, at: At) -> Shelving | None:
        """A block to be read before the step is handed out, or one whose turn it is to be read ahead."""
        self._look(at)
        for window in self._windows:
            if window.unread and (window.first <= at or (self._has_room() and window.behind_time(at))):
                return self._ask(window)
        return None

    def spare(self) -> Shelving | None:
        """A block to be read ahead, for a worker that would have nothing to do."""
        for window in self._windows:
            if window.unread and self._has_room():
                return self._ask(window)
        return None

    def ready(self, at: At, steps: int) -> tuple[int, dict[int, Shelved]]:
        """How many of these steps have all their blocks, and those."""
        epoch, step = at
        if self._next is not None and self._next.epoch == epoch:
            steps = max(0, min(steps, self._next.first - step))
        there: dict[int, Shelved] = {}
        for window in self._windows:
            if window.first >= (epoch, step + steps):
                break
            if window.last < at:
                continue
            if window.missing:
                return max(0, window.first[1] - step), there
            there |= window.ready
        return steps, there

    def came(self, job: Shelving, answer: Answer) -> None:
        """A block has been read, or that has failed.

        Raises:
            ValueError: the blocks of a window take more than the budget.
        """
        window = self._reading.pop(job, None)
        if window is None:
            return
        window.missing -= 1
        if not isinstance(answer, Shelved):
            log.info("%s is read again by whoever needs it: reading it has failed", job)
            return
        window.ready[job.reading.block] = answer
        self._largest = max(self._largest, answer.nbytes)
        taken = sum(block.nbytes for block in window.ready.values())
        if self._budget is not None and taken > self._budget:
            raise ValueError(
                f"memory_budget leaves {megabytes(self._budget)} for blocks of the source, and the {window.blocks} "
                f"blocks of a window take about {megabytes(taken * window.blocks // len(window.ready))}. Raise "
                "memory_budget, or have smaller windows: shuffle=ShuffleWindow(blocks=n)"
            )

    def waiting(self) -> Shelving | None:
        """The block that has been read for longest."""
        return next(iter(self._reading), None)

    def passed(self, at: At) -> None:
        """All steps before this one have been done. A run that is still in hand keeps what it needs."""
        if any(window.last < at for window in self._windows):
            self._windows = deque(window for window in self._windows if window.last >= at)

    def close(self) -> None:
        """Nothing is wanted any more."""
        self._coming, self._next = iter(()), None
        self._windows.clear()
        self._reading.clear()

    def _look(self, at: At) -> None:
        """Take in the windows that are due, and as many behind them as there may be."""
        while self._next is not None:
            due = (self._next.epoch, self._next.first) <= at
            if not (due or self._ahead):
                return
            # Before more come, those go that are only there for steps that have not been done yet.
            if len(self._windows) >= self._most and not (due and all(window.last >= at for window in self._windows)):
                return
            self._windows.append(_Window(self._next, at))
            self._next = next(self._coming, None)

    def _ask(self, window: _Window) -> Shelving:
        job = Shelving(ReadBlock(window.first[0], window.unread.popleft()), self._coming_blocks())
        self._reading[job] = window
        return job

    def _coming_blocks(self) -> tuple[int, ...]:
        """Those that are asked for next, as far as windows are known."""
        unread = itertools.chain.from_iterable(window.unread for window in self._windows)
        return tuple(itertools.islice(unread, COMING))

    def _has_room(self) -> bool:
        """Whether there is room for a block that is not due, as large as the largest so far."""
        if self._budget is None:
            return True
        there = sum(block.nbytes for window in self._windows for block in window.ready.values())
        return there + (len(self._reading) + 1) * self._largest <= self._budget
