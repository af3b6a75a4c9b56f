"""Stand-ins for what is slow or cannot be made to happen: a crew, a clock, and an exception at a chosen moment.

    crew = FakeCrew(order, turn=shuffled(7))    two workers that answer in some order, and now and then die
    crew = FakeCrew(order, points=Points(5))    whoever calls it gets a KeyboardInterrupt at the fifth moment
    FakeEngine(monkeypatch, make_crew)          sessions have such crews, one for an epoch
    FakeDelivery()                              gives the user a batch's array, and knows what it has delivered

``FakeCrew`` keeps the contract of ``crews/base.py`` and complains when it is used against it. It writes to a real ring,
of ordinary memory: a batch of step s has one field "value", with the numbers of the records of s.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar

import numpy as np
import pytest

from datarax_mp.core.errors import RemoteError, WorkerError, WorkerTimeoutError
from datarax_mp.core.spec import Layout
from datarax_mp.core.waker import Waker
from datarax_mp.crews.base import Abilities, Answer, Assignment, Closed, Member
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order import Epoch, Order
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.work import Done, Failed, Run, Skip, Written
from datarax_mp.ring import Ring

Method = TypeVar("Method", bound=Callable[..., Any])


class FakeClock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Points:
    """The moments before and after every call of a fake, of which the n-th raises; several fakes may share them.

    Attributes:
        passed: how many there have been.
        where: the moment at which it has raised, or "".
    """

    def __init__(self, at: int = 0, error: BaseException | None = None) -> None:
        self.at, self.error = at, error if error is not None else KeyboardInterrupt("at a chosen moment")
        self.passed, self.where = 0, ""

    def reach(self, where: str) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.where = where
            raise self.error


def interruptible(method: Method) -> Method:
    """A method before and after which ``self.points`` are reached."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        name = f"{type(self).__name__}.{method.__name__}"
        self.points.reach(f"before {name}")
        result = method(self, *args, **options)
        self.points.reach(f"after {name}")
        return result

    return call  # type: ignore[return-value]


class Raised(RemoteError):
    """An error as an answer carries it."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "error", error)

    def restore(self) -> BaseException:
        return self.error


def layout(batch_size: int) -> Layout:
    """What ``FakeCrew`` writes."""
    return Layout.of({"value": np.int64(0)}, number=0, batch_size=batch_size, x64=None)


def in_order(crew: FakeCrew) -> list[Assignment]:
    """The first run in hand is done."""
    return sorted(crew.in_hand(), key=lambda assignment: assignment.run.step)[:1]


def backwards(crew: FakeCrew) -> list[Assignment]:
    """Of all that the workers are at, the last one is done."""
    return sorted((hand[0] for hand in crew.hands if hand), key=lambda assignment: assignment.run.step)[-1:]


def nobody(crew: FakeCrew) -> list[Assignment]:
    """Nothing is done."""
    return []


def shuffled(seed: int, deaths: float = 0.0) -> Callable[[FakeCrew], list[Assignment]]:
    """Some of the workers have done what they were at, in any order; a share of them dies in the middle of it."""
    random = Random(seed)

    def turn(crew: FakeCrew) -> list[Assignment]:
        for worker, hand in enumerate(crew.hands):
            if hand and random.random() < deaths:
                crew.die(worker)
        done = [hand[0] for hand in crew.hands if hand and random.random() < 0.4]
        return random.sample(done, len(done))

    return turn


class FakeCrew:
    """Workers that do a run when ``turn`` says so.

    Args:
        order: which records make a step.
        turn: asked whenever answers are; says which runs are done by then, each the first in some worker's hand.
        workers: how many there are.
        concurrent: whether they work on their own; otherwise a run is done when it is submitted, as in ``LocalCrew``.
        seconds: how long each step takes, as the answers say; ``clock`` does not care.
        errors: by step, what is raised in it.
        skips: by step, the rows that are skipped in it.
        clock: moved on while somebody waits in vain.
        waker: looked at whenever answers are asked for.
        points: moments at which a call may be interrupted.

    Attributes:
        hands: for each worker the runs that it has in hand.
        staffed: whether they are there; without them there is no room.
        again: runs of workers that have died, to be done by others.
        submitted: all runs, as they came.
        asked: how many times answers were asked for.
        deaths_left: how many workers may die before that is an error.
        replaced: how many have died.
        state: "new", "at work", "left" or "killed".
    """

    def __init__(
        self,
        order: Order,
        turn: Callable[[FakeCrew], list[Assignment]] = in_order,
        *,
        workers: int = 2,
        concurrent: bool = True,
        seconds: float = 1e-5,
        errors: Mapping[int, BaseException] | None = None,
        skips: Mapping[int, tuple[int, ...]] | None = None,
        clock: FakeClock | None = None,
        waker: Waker | None = None,
        points: Points | None = None,
    ) -> None:
        self.order, self.turn = order, turn
        self.abilities = Abilities(concurrent, times_out=True, grows=True)
        self.seconds, self.errors, self.skips = seconds, dict(errors or {}), dict(skips or {})
        self.clock = FakeClock() if clock is None else clock
        self.waker, self.points = waker, Points() if points is None else points
        self.hands: list[list[Assignment]] = [[] for _ in range(workers)]
        self.again: deque[Assignment] = deque()
        self.submitted: list[Run] = []
        self.asked = 0
        self.deaths_left, self.replaced = 1 << 30, 0
        self.state, self.staffed = "new", True

    def in_hand(self) -> list[Assignment]:
        """All runs that some worker has."""
        return [assignment for hand in self.hands for assignment in hand]

    def die(self, worker: int) -> None:
        """A worker dies, and another takes its place: what it had in hand is done again."""
        if not self.deaths_left:
            raise WorkerError("workers keep dying")
        self.deaths_left -= 1
        self.replaced += 1
        for assignment in self.hands[worker]:
            if assignment.wanted:
                ring, slot = assignment.ring, assignment.run.slot
                ring.memory[slot * ring.slot_bytes : (slot + 1) * ring.slot_bytes] = b"\xff" * ring.slot_bytes
                self.again.append(assignment)
            else:
                assignment.discard()
        self.hands[worker] = []

    def members(self) -> list[Member]:
        return []

    @property
    def size(self) -> int:
        return len(self.hands)

    @property
    def spare(self) -> int:
        return 0

    def surrender(self) -> None:
        self.state = "surrendered"
        self.again.clear()
        for hand in self.hands:
            hand.clear()

    def layouts(self) -> Layouts:
        return Layouts(layout(self.order.batch_size), layout(self.order.batch_size))

    def holds(self, ring: Ring) -> int:
        return sum(assignment.ring is ring for assignment in self.in_hand())

    @interruptible
    def attach(self, ring: Ring, layouts: Layouts) -> None:
        assert self.state == "new"
        self.state = "at work"

    def has_room(self, depth: int) -> bool:
        assert depth in (1, 2)
        if not self.abilities.concurrent:
            return not self.in_hand()
        return self.staffed and any(len(hand) < depth for hand in self.hands)

    @interruptible
    def submit(self, assignment: Assignment) -> None:
        assert self.state == "at work" and self.has_room(2)
        assert assignment.run.slot not in [other.run.slot for other in self.in_hand() if other.ring is assignment.ring]
        assert assignment.run.steps >= 1
        self.submitted.append(assignment.run)
        self._give(assignment)

    def _give(self, assignment: Assignment) -> None:
        min(self.hands, key=len).append(assignment)

    @interruptible
    def answers(self, seconds: float | None) -> list[tuple[Assignment, Answer]]:
        assert self.state == "at work"
        self.asked += 1
        if self.waker is not None and self.waker.woken:
            raise Closed
        done = self.turn(self) if self.abilities.concurrent else self.in_hand()
        answers = [(assignment, answer) for assignment in done if (answer := self._answer(assignment)) is not None]
        while self.again and self.has_room(2):
            self._give(self.again.popleft())
        if not answers and seconds is None:
            assert self.in_hand() and self.turn is not nobody, "somebody waits for ever"
        if not answers and seconds is not None:
            self.clock.now += seconds
        return answers

    def _answer(self, assignment: Assignment) -> Answer | None:
        [hand] = [hand for hand in self.hands if assignment in hand]
        hand.remove(assignment)
        if not assignment.wanted:
            assignment.discard()
            return None
        run, written = assignment.run, Written.nothing()
        block = layout(self.order.batch_size).block_bytes
        for place in range(run.steps):
            step = run.step + place
            if step in self.errors:
                return Failed(Raised(self.errors[step]), written)
            records, rows = self.order.records(run.epoch, step), self.skips.get(step, ())
            values = np.delete(records, rows)
            start = run.slot * assignment.ring.slot_bytes + place * block
            np.ndarray(len(values), np.int64, assignment.ring.memory, start)[:] = values
            written.infos.append(None)
            if rows:
                written.skips[place] = tuple(Skip(int(records[row]), row, "no good") for row in rows)
        return Done(self.seconds * run.steps, written)

    def stuck(self, assignment: Assignment | None, seconds: float) -> Exception:
        at = "an earlier epoch" if assignment is None else f"step {assignment.run.step}"
        return WorkerTimeoutError(f"no batch came within {seconds:g} s: at {at}")

    def grow(self, size: int) -> None:
        assert self.state == "at work"
        self.hands += [[] for _ in range(size - len(self.hands))]

    @interruptible
    def leave(self) -> None:
        assert self.state == "at work"
        self._end("left")

    @interruptible
    def kill(self) -> None:
        self._end("killed")

    def _end(self, state: str) -> None:
        self.state = state
        for assignment in self.in_hand():
            assignment.wanted = False
        while self.again:
            self.again.popleft().discard()

    def finish_what_is_left(self) -> None:
        """The workers come to the end of what they were at when the epoch was left, and nobody wants it."""
        for hand in self.hands:
            while hand:
                hand.pop().discard()


class FakeEngine:
    """What every session that is made from now on has its crews from.

    Args:
        monkeypatch: undoes it.
        make: makes the crew of an epoch; it is given the epoch and the waker.

    Attributes:
        crews: those that were made.
        closed: how many times it was closed.
    """

    shared = False
    shelves = True

    def __init__(self, monkeypatch: pytest.MonkeyPatch, make: Callable[[int, Waker], FakeCrew]) -> None:
        self.make, self.crews, self.closed = make, list[FakeCrew](), 0
        monkeypatch.setattr("datarax_mp.pipeline.session.choose", lambda *_, **__: self)

    def crew(self, epoch: int, *, size: int, probe: bool, waker: Waker) -> FakeCrew:
        crew = self.make(epoch, waker)
        self.crews.append(crew)
        return crew

    def close(self) -> None:
        self.closed += 1

    def finish(self, deadline: float) -> None:
        pass


class FakeDelivery:
    """Gives the user the one array of a batch; what it opens for an epoch is itself.

    Args:
        errors: by step, what is raised in its place.
        points: moments at which a call may be interrupted.

    Attributes:
        taken: the steps, as they came.
        handed_over: the first records of the batches that the user got, as they came.
        during: called in the middle of every ``take``.
    """

    def __init__(self, errors: Mapping[int, BaseException] | None = None, points: Points | None = None) -> None:
        self.errors, self.points = dict(errors or {}), Points() if points is None else points
        self.taken, self.handed_over = list[int](), list[int]()
        self.during: Callable[[], object] = lambda: None

    def check(self, layout: Layout, order: Order) -> None:
        pass

    def device(self) -> None:
        pass

    @interruptible
    def open(self, layout: Layout, epoch: Epoch, steps: int) -> FakeDelivery:
        return self

    @interruptible
    def take(self, batch: HostBatch) -> np.ndarray:
        self.taken.append(batch.step)
        self.during()
        if batch.step in self.errors:
            raise self.errors[batch.step]
        [array] = batch.arrays()
        return array

    @interruptible
    def hand_over(self, array: np.ndarray) -> np.ndarray:
        self.handed_over.append(int(array[0]))
        return array
