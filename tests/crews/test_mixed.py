"""Two crews as one: who takes what, and what becomes of it when one of them comes to its end."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from datarax_mp.core.errors import WorkerError
from datarax_mp.crews.base import Assignment
from datarax_mp.crews.mixed.crew import BothCrew
from datarax_mp.crews.mixed.pace import Pace
from datarax_mp.recipe.work import AtLane, Run
from datarax_mp.ring import Ring
from tests.fakes import FakeClock, FakeCrew, in_order, nobody, shuffled
from tests.feed.test_window import ORDER, STEPS, Setting


class Both(BothCrew):
    """With the clock that a window is to have: what is far away takes no longer than what is nearby."""

    def __init__(self, near: FakeCrew, far: FakeCrew) -> None:
        self.near, self.far = near, far
        self.clock = FakeClock()
        super().__init__(near, far, self.clock)

    def in_hand(self) -> list[Assignment]:
        return self.near.in_hand() + self.far.in_hand()

    def finish_what_is_left(self) -> None:
        self.near.finish_what_is_left()
        self.far.finish_what_is_left()


def both(near: Any = in_order, far: Any = in_order, *, workers: tuple[int, int] = (2, 2)) -> Both:
    return Both(FakeCrew(ORDER, near, workers=workers[0]), FakeCrew(ORDER, far, workers=workers[1]))


@pytest.mark.parametrize("deaths", [0.0, 0.2])
def test_steps_come_in_order_and_once_for_any_order_of_answers_and_any_deaths(deaths: float) -> None:
    for seed in range(100):
        crew = both(shuffled(seed, deaths), shuffled(seed + 1, deaths), workers=(1 + seed % 3, 1 + seed % 2))
        setting = Setting(crew, slots=2 + seed % 9)  # type: ignore[arg-type]
        assert setting.rest() == STEPS, seed
        assert crew.replaced == crew.near.replaced + crew.far.replaced
        setting.leave()
        assert (crew.near.state, crew.far.state) == ("left", "left")


def test_each_of_the_near_workers_has_something_before_a_far_one_has() -> None:
    crew = both(nobody, nobody)
    ring = Ring(9, 4096, shared=False)
    crew.attach(ring, crew.layouts())
    taken = []
    while crew.has_room(2):
        slot = ring.acquire()
        assert slot is not None
        crew.submit(Assignment(Run(0, len(taken), 1, slot), ring))
        taken.append((len(crew.near.in_hand()), len(crew.far.in_hand())))
    assert taken == [(1, 0), (2, 0), (2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (4, 4)]
    assert crew.size == 4
    assert crew.holds(ring) == 8


def test_a_lane_stays_with_the_crew_that_has_it() -> None:
    crew = both(nobody, nobody, workers=(1, 3))
    ring = Ring(9, 4096, shared=False)
    crew.attach(ring, crew.layouts())
    where = []
    for number in range(8):
        slot = ring.acquire()
        assert slot is not None
        before = len(crew.near.in_hand())
        crew.submit(Assignment(Run(0, number, 1, slot, lane=AtLane(number, None)), ring))  # type: ignore[arg-type]
        where.append("near" if len(crew.near.in_hand()) > before else "far")
    assert where == ["near", "far", "far", "far"] * 2


def test_a_lane_is_with_the_near_crew_as_long_as_nobody_is_there_of_the_far_one() -> None:
    crew = both(nobody, nobody, workers=(2, 2))
    ring = Ring(8, 4096, shared=False)
    crew.attach(ring, crew.layouts())

    def given(number: int) -> str:
        slot = ring.acquire()
        assert slot is not None
        job = Assignment(Run(0, number, 1, slot, lane=AtLane(number, None)), ring)  # type: ignore[arg-type]
        crew.submit(job)
        return "near" if job in crew.near.in_hand() else "far"

    crew.far.staffed = False
    assert [given(number) for number in (2, 3)] == ["near", "near"]
    crew.far.staffed = True
    assert [given(number) for number in (0, 2, 3)] == ["near", "far", "far"]
    crew.far.staffed = False  # its workers are lost
    assert given(3) == "near"


@pytest.mark.parametrize("slots", [3, 9])
@pytest.mark.parametrize("at", range(4))
def test_where_the_far_crew_comes_to_its_end_the_near_one_does_its_work_again(
    at: int, slots: int, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(crew: FakeCrew) -> list[Assignment]:
        if crew.asked > at:
            raise WorkerError("Ray is gone")
        return in_order(crew)

    crew = both(lambda crew: in_order(crew) if crew.in_hand() else [], breaks, workers=(1, 2))
    setting = Setting(crew, slots=slots)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "datarax_mp"):
        assert setting.rest() == STEPS
    assert crew.far.state == "surrendered"
    assert caplog.messages == ["the workers of this machine go on alone: Ray is gone"]
    assert crew.size == 1
    setting.window.close()
    crew.leave()
    crew.near.finish_what_is_left()
    assert setting.ring.filling == 0


@pytest.mark.parametrize("at", range(3))
def test_the_near_one_goes_on_alone_also_where_the_far_one_ends_while_it_is_given_work(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = both(workers=(1, 2))
    submit, given = crew.far.submit, list[Any]()

    def breaks(job: Any) -> None:
        if len(given) == at:
            raise WorkerError("Ray is gone")
        given.append(job)
        submit(job)

    monkeypatch.setattr(crew.far, "submit", breaks)
    setting = Setting(crew)  # type: ignore[arg-type]
    assert setting.rest() == STEPS
    assert (crew.far.state, len(given)) == ("surrendered", at)


def test_who_waits_for_an_answer_is_told_when_somebody_of_the_far_crew_has_come() -> None:
    def takes_long(near: FakeCrew) -> list[Assignment]:
        assert near.asked < 20
        crew.far.staffed = near.asked > 5
        return []

    crew = both(takes_long, nobody, workers=(1, 1))
    crew.far.staffed = False
    ring = Ring(9, 4096, shared=False)
    crew.attach(ring, crew.layouts())
    crew.submit(Assignment(Run(0, 0, 1, 0), ring))
    assert not crew.has_room(1)
    assert crew.answers(None) == []
    assert crew.has_room(1)
    crew.submit(Assignment(Run(0, 1, 1, 1), ring))
    assert len(crew.far.in_hand()) == 1


def test_a_record_that_ends_both_is_the_last_ones_error() -> None:
    def breaks(crew: FakeCrew) -> list[Assignment]:
        raise WorkerError("workers keep dying" if crew.asked > 2 else "Ray is gone")

    crew = both(lambda crew: [] if crew.asked < 5 else breaks(crew), breaks)
    setting = Setting(crew)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="workers keep dying"):
        setting.rest()


def test_both_are_ended_also_when_the_first_one_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in ("leave", "kill"):
        crew = both(nobody, nobody)
        crew.attach(Ring(2, 4096, shared=False), crew.layouts())

        def raises() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(crew.near, end, raises)
        with pytest.raises(KeyboardInterrupt):
            getattr(crew, end)()
        assert crew.far.state == {"leave": "left", "kill": "killed"}[end]


def test_who_takes_too_long_is_asked_of_the_crew_that_has_the_run() -> None:
    crew = both(nobody, nobody, workers=(1, 1))
    ring = Ring(9, 4096, shared=False)
    crew.attach(ring, crew.layouts())
    jobs = [Assignment(Run(0, step, 1, step), ring) for step in range(2)]
    for job in jobs:
        crew.submit(job)
    asked: list[str] = []
    for name, one in (("near", crew.near), ("far", crew.far)):
        one.stuck = lambda job, seconds, name=name: asked.append(name) or RuntimeError()  # type: ignore[method-assign]
    for job in (jobs[0], jobs[1], None):
        assert isinstance(crew.stuck(job, 1.0), RuntimeError)
    assert asked == ["near", "far", "near"]


def test_nothing_is_sent_away_that_comes_back_after_the_slots_are_full_but_now_and_then() -> None:
    clock = FakeClock()
    pace = Pace(clock)
    assert pace.is_worth(ahead=4)  # nobody knows
    pace.near(0.001)
    pace.far(0.05)
    assert not pace.is_worth(ahead=4)
    assert pace.is_worth(ahead=64)
    clock.now += 2.4
    assert not pace.is_worth(ahead=4)
    clock.now += 0.2
    assert pace.is_worth(ahead=4)
    pace.sent()
    assert not pace.is_worth(ahead=4)
    for _ in range(50):
        pace.near(0.1)  # batches are of another kind now
    assert pace.is_worth(ahead=4)
