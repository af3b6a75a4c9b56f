"""Who does the work of an epoch, or of several: what a feed hands in, what it gets back, and what it may count on.

    engine = choose(...)                      one for a pipeline: what its crews have in common
    crew = engine.crew(epoch, ...)            one for an epoch
    crew.layouts()                            if it was asked to probe; at most once
    crew.holds(ring)                          to find out whether a ring can be used again
    crew.attach(ring, layouts)                once; its ``abilities`` hold from here on
      crew.has_room(depth) -> crew.submit(assignment) ....> crew.answers(seconds)      in any order, each any
      crew.grow(size), crew.stuck(...)                                                 number of times
    crew.leave()   or   crew.kill()           the last call; either may come at any time

An *assignment* is a run of consecutive steps, and the slot that they are to be written into; a *shelving* is a block of
the source that is to be read, for the assignments that are handed in with it later. What a crew owes for either:

* One answer, ``Done`` or ``Failed`` (of a block, ``Shelved`` or ``Failed``), however many workers die of it; or an
  exception out of ``answers``.
* The same bytes whoever does it, and however often: which records make a step is arithmetic.
* Nothing is written to the slot after the answer has been given, or after ``discard``. Until then the slot is the
  crew's, also when it has left: it discards the assignment when the worker in question is known to write no more.

What it may assume: one thread calls it, and does not call it again out of a call. A signal handler may raise in the
middle of any call; then all that follows is ``kill``. Nothing is submitted beyond ``has_room``, nor in two assignments
of one slot, and ``grow`` and ``stuck`` are called only where its abilities say so.

An exception of the user's code, over a record or before the first one, is data: it travels in a ``Failed``, or comes
out of ``layouts``. What comes out of any other call ends the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from datarax_mp.core.waker import Waker
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.work import Done, Failed, ReadBlock, Run, Shelved
from datarax_mp.ring import Ring

OfRun: TypeAlias = Done | Failed
Answer: TypeAlias = OfRun | Shelved


@dataclass(frozen=True, slots=True)
class Abilities:
    """What can be had of a crew.

    Attributes:
        concurrent: work goes on while the caller does something else. Otherwise ``submit`` does it, so that nothing is
            submitted before there is need of it.
        times_out: it can be said of a worker that it takes too long, and it can be ended; see ``Crew.stuck``.
        grows: there can be more workers; see ``Crew.grow``.
    """

    concurrent: bool = False
    times_out: bool = False
    grows: bool = False


@dataclass(slots=True, eq=False)
class Assignment:
    """A run that has been handed in. It is itself what an answer is found by: two are never equal.

    Attributes:
        run: what is to be done.
        ring: where its slot is.
        shelved: the blocks of the source that have been read for it, by number.
        wanted: whether somebody still waits for it.
    """

    run: Run
    ring: Ring
    shelved: Mapping[int, Shelved] = field(default_factory=dict)
    wanted: bool = True
    _slots: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._slots = [self.run.slot]

    @property
    def epoch(self) -> int:
        """The epoch that it is of."""
        return self.run.epoch

    def discard(self) -> None:
        """Nobody waits for it: only its slot matters. It goes back once, however often this is called."""
        self.ring.take_back(self._slots)

    def __str__(self) -> str:
        return f"step {self.run.step} of epoch {self.run.epoch}"


@dataclass(slots=True, eq=False)
class Shelving:
    """A block that has been asked for; as ``Assignment`` otherwise.

    Attributes:
        reading: what is to be done.
        coming: the blocks that will be asked for next, whoever reads them.
        wanted: whether somebody still waits for it.
    """

    reading: ReadBlock
    coming: tuple[int, ...] = ()
    wanted: bool = True

    @property
    def epoch(self) -> int:
        """The epoch that it is for."""
        return self.reading.epoch

    def discard(self) -> None:
        """Nobody waits for it; nothing hangs on it."""

    def __str__(self) -> str:
        return f"block {self.reading.block} for epoch {self.reading.epoch}"


Job: TypeAlias = Assignment | Shelving


class Member(NamedTuple):
    """A worker, as the system knows it.

    Attributes:
        thread: the number of its thread; of a process, the process's.
        board: the descriptor of the memory in which it says what it is at (see ``recipe.recorder``), or -1.
        line: where it does there.
    """

    thread: int
    board: int = -1
    line: int = -1


class Crew(Protocol):
    """Who does the work of one iterator, of an epoch or of several; see the module for the order of calls.

    Attributes:
        abilities: what else it can do; known when it is attached.
        replaced: how many workers have died and been replaced.
    """

    abilities: Abilities
    replaced: int = 0

    def layouts(self) -> Layouts:
        """Read the first record and say what a batch holds.

        Raises:
            Exception: what the source or a stage raised, or ``RecordError``.
            WorkerError: workers die of it, or it takes longer than the time limit.
            Closed: another thread wants this one to stop.
        """
        ...

    def holds(self, ring: Ring) -> int:
        """How many slots of a ring are still being written to, for an epoch that was left early.

        They come free while this crew works. A ring of which more slots are taken cannot be attached.
        """
        ...

    def attach(self, ring: Ring, layouts: Layouts) -> None:
        """Write to this ring, as the layouts say, from now on."""
        ...

    def has_room(self, depth: int) -> bool:
        """Whether somebody has less than ``depth`` jobs in hand; only then may one be submitted."""
        ...

    def submit(self, job: Job) -> None:
        """Take a run or a block in hand. It does not wait for a worker, unless the caller is one."""
        ...

    def answers(self, seconds: float | None) -> list[tuple[Job, Answer]]:
        """What has been finished since the last call, in any order.

        Args:
            seconds: how long to wait for something to happen, which need not bring an answer; None is without a limit.

        Raises:
            WorkerError: workers keep dying, or none can be had.
            Closed: another thread wants this one to stop.
        """
        ...

    def stuck(self, job: Job | None, seconds: float) -> Exception:
        """The error for what has not come in time. Whoever is at it is ended. Only where ``abilities.times_out``.

        Args:
            job: what is waited for, or None if nothing could be handed in.
            seconds: how long that took.
        """
        raise RuntimeError(f"that needs another crew: {self.abilities}")

    def grow(self, size: int) -> None:
        """Have so many workers from now on, or as many as can be had. Only where ``abilities.grows``."""
        raise RuntimeError(f"that needs another crew: {self.abilities}")

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self.members())

    @property
    def staffed(self) -> bool:
        """Whether somebody is there to take a job. Workers of other machines come when those have room for them."""
        return True

    @property
    def spare(self) -> int:
        """How many workers get nothing to do as long as the others are in time, since there are no cores for them."""
        return 0

    def members(self) -> list[Member]:
        """Who works just now."""
        return []

    def leave(self) -> None:
        """End in an orderly way; what is still being worked on is discarded when it is done."""
        ...

    def kill(self) -> None:
        """End at once, in the middle of anything; nothing is written any more, or its slot never comes free."""
        ...

    def surrender(self) -> None:
        """End at once, so that what it had in hand can be submitted elsewhere: nobody else writes to its slots.

        Only where this process alone writes to them in any case.
        """
        raise RuntimeError("that needs a crew for which this process writes to the slots")


class Engine(Protocol):
    """One way of making batches, for one recipe: makes a crew for each epoch, and keeps what the next can use again.

    Attributes:
        shared: whether a ring has to lie in memory that other processes can map.
        shelves: whether a block of the source that one worker has read can be had by all; otherwise none is submitted.
    """

    shared: bool
    shelves: bool

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> Crew:
        """Have workers for an epoch. What the user has changed in the recipe since the last one holds for them.

        Args:
            epoch: the epoch that begins.
            size: how many workers.
            probe: whether ``layouts`` will be asked for.
            waker: readable when another thread wants whoever waits for workers to stop.

        Raises:
            TypeError: the recipe cannot be sent to workers; the message names the attribute.
            SharedMemoryError: there is too little memory for it.
            WorkerError: no worker can be had.
            Exception: with ``probe``, what the user's code raised when it was set up.
        """
        ...

    def finish(self, deadline: float) -> None:
        """Wait until no code of the recipe's runs for an epoch that was left; what does at the deadline is ended.

        Args:
            deadline: by ``time.monotonic``.
        """
        ...

    def close(self) -> None:
        """Let go of what is kept for the next epoch. A crew that is at work still works, and this is called again."""
        ...


class Closed(Exception):
    """The pipeline was closed by another thread while this one waited for workers."""
