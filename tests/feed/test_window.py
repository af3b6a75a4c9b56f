"""Runs are handed out as far as slots and workers allow, and come back in the order of their steps."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest

from datarax_mp.core.errors import WorkerError, WorkerTimeoutError
from datarax_mp.crews.base import Assignment
from datarax_mp.feed.depth import SLOW_SECONDS, Depth
from datarax_mp.feed.run_length import RunLength
from datarax_mp.feed.timings import Timings
from datarax_mp.feed.window import Window
from datarax_mp.order import Order, Sequential
from datarax_mp.order.left_out import LeftOut
from datarax_mp.order.reach import Reach
from datarax_mp.recipe.work import Done, Failed, Run
from datarax_mp.ring import Ring
from tests.fakes import FakeClock, FakeCrew, Points, backwards, in_order, layout, nobody, shuffled

ORDER = Order(Sequential(61), batch_size=3)  # 21 steps, of which the last has one row
STEPS = list(range(21))
ONE_EPOCH = Reach()


class Setting:
    """A window over a fake crew, and a real ring."""

    def __init__(
        self,
        crew: FakeCrew,
        *,
        slots: int = 9,
        start: int = 0,
        most_steps: int = 4,
        timeout: float | None = None,
        reach: Reach = ONE_EPOCH,
    ) -> None:
        self.crew, self.depth = crew, Depth(crew.clock.now)
        self.ring = Ring(slots, most_steps * layout(ORDER.batch_size).block_bytes, shared=False)
        self.length = RunLength(most_steps, adaptive=True)
        crew.attach(self.ring, crew.layouts())
        self.timings = Timings()
        self.window = Window(
            crew,
            self.ring,
            reach.legs(ORDER, 0, start),
            block_bytes=layout(ORDER.batch_size).block_bytes,
            length=self.length,
            depth=self.depth,
            timeout=timeout,
            timings=self.timings,
            clock=crew.clock,
        )

    def take(self) -> list[int]:
        """The steps of the next run that have been written, each with the right records; its slot is free again."""
        finished = self.window.take()
        if finished is None:
            return []
        run, block = finished.run, layout(ORDER.batch_size).block_bytes
        steps = list(range(run.step, run.step + len(finished.answer.written.infos)))
        for place, step in enumerate(steps):
            start = run.slot * self.ring.slot_bytes + place * block
            records = np.ndarray(ORDER.rows(0, step), np.int64, self.ring.memory, start)
            assert records.tolist() == ORDER.records(0, step).tolist()
        self.ring.release(run.slot)
        return steps

    def rest(self) -> list[int]:
        """All steps that are left."""
        found = []
        while steps := self.take():
            found += steps
        return found

    def leave(self) -> None:
        """Leave the epoch; afterwards every slot is free."""
        self.window.close()
        self.crew.leave()
        self.crew.finish_what_is_left()
        assert self.ring.filling == 0


@pytest.mark.parametrize("turn", [in_order, backwards])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_steps_come_in_order_whatever_is_finished_first(turn: Any, workers: int) -> None:
    setting = Setting(FakeCrew(ORDER, turn, workers=workers))
    assert setting.rest() == STEPS
    assert setting.take() == []
    setting.leave()


@pytest.mark.parametrize("deaths", [0.0, 0.2])
def test_steps_come_in_order_and_once_for_any_order_of_answers_and_any_deaths(deaths: float) -> None:
    for seed in range(200):
        workers, slots = 1 + seed % 4, 1 + seed % 7
        setting = Setting(FakeCrew(ORDER, shuffled(seed, deaths), workers=workers), slots=slots)
        assert setting.rest() == STEPS, seed
        setting.leave()


def test_an_epoch_may_begin_at_any_step() -> None:
    assert Setting(FakeCrew(ORDER), start=17).rest() == [17, 18, 19, 20]
    assert Setting(FakeCrew(ORDER), start=21).rest() == []


def test_a_crew_that_does_not_work_on_its_own_makes_one_run_at_a_time() -> None:
    setting = Setting(FakeCrew(ORDER, concurrent=False))
    for expected in ([0], [1, 2], [3, 4, 5, 6]):
        assert setting.window.ready()
        handed_out = len(setting.crew.submitted)
        assert setting.take() == expected
        assert len(setting.crew.submitted) == handed_out + 1
    assert setting.rest() == STEPS[7:]
    assert not setting.window.ready()


def test_no_more_is_handed_out_than_there_are_slots() -> None:
    setting = Setting(FakeCrew(ORDER, workers=4), slots=3)
    assert not setting.window.ready()
    assert [run.slot for run in setting.crew.submitted] == [2, 1, 0]
    assert setting.rest() == STEPS


def test_no_more_is_handed_out_than_workers_are_to_have_in_hand() -> None:
    setting = Setting(FakeCrew(ORDER, nobody, workers=3))
    setting.window.ready()
    assert [len(hand) for hand in setting.crew.hands] == [2, 2, 2]
    slow = Setting(FakeCrew(ORDER, nobody, workers=3))
    slow.depth.took(10 * SLOW_SECONDS)
    slow.window.ready()
    assert [len(hand) for hand in slow.crew.hands] == [1, 1, 1]


def test_it_is_noted_how_long_all_slots_were_taken_while_a_worker_had_room() -> None:
    setting = Setting(FakeCrew(ORDER, nobody, workers=2), slots=3)
    kept = [setting.ring.acquire(), setting.ring.acquire(), setting.ring.acquire()]
    setting.window.ready()
    setting.crew.clock.now += 2.0
    setting.window.ready()
    assert setting.timings.full.count == 0  # it still lasts
    setting.crew.clock.now += 1.0
    setting.ring.release(kept.pop())  # type: ignore[arg-type]
    setting.window.ready()
    assert (setting.timings.full.count, setting.timings.full.total) == (1, pytest.approx(3.0))
    assert len(setting.crew.submitted) == 1


def test_while_the_first_run_is_waited_for_no_second_one_is_handed_to_a_worker() -> None:
    setting = Setting(FakeCrew(ORDER, workers=3))
    setting.take()
    assert max(len(hand) for hand in setting.crew.hands) <= 1
    setting.window.ready()
    assert max(len(hand) for hand in setting.crew.hands) <= 1
    setting.take()
    assert [len(hand) for hand in setting.crew.hands] == [2, 2, 2]


def test_what_an_answer_says_of_its_time_decides_how_deep_workers_are_filled() -> None:
    setting = Setting(FakeCrew(ORDER, workers=3, seconds=10 * SLOW_SECONDS))
    assert setting.rest() == STEPS
    assert setting.depth.runs == 1
    assert {run.steps for run in setting.crew.submitted} == {1}


def test_runs_grow_up_to_what_is_left_of_the_epoch() -> None:
    setting = Setting(FakeCrew(ORDER, workers=1), most_steps=8)
    assert setting.rest() == STEPS
    assert [run.steps for run in setting.crew.submitted] == [1, 1, 2, 2, 4, 4, 7]


def test_more_is_handed_out_whenever_an_answer_comes_so_that_nobody_idles_while_the_caller_is_away() -> None:
    setting = Setting(FakeCrew(ORDER, workers=1))
    setting.window.ready()  # hands out, too late for an answer
    before = len(setting.crew.submitted)
    assert setting.window.ready()
    assert len(setting.crew.submitted) > before
    assert setting.crew.in_hand()


def test_it_is_not_ready_before_the_next_step_in_order_is() -> None:
    setting = Setting(FakeCrew(ORDER, backwards))
    assert not setting.window.ready()
    assert not setting.window.ready()  # step 1 is there
    setting.crew.turn = in_order
    assert setting.window.ready()
    assert setting.take() == [0]


def test_a_failed_run_comes_when_those_before_it_have_been_taken() -> None:
    error = ValueError("no good")
    setting = Setting(FakeCrew(ORDER, backwards, errors={5: error}))
    taken = []
    while (finished := setting.window.take()) is not None and isinstance(finished.answer, Done):
        taken += range(finished.run.step, finished.run.step + finished.run.steps)
        setting.ring.release(finished.run.slot)
    assert finished is not None and isinstance(finished.answer, Failed)
    assert taken + list(range(finished.run.step, 5)) == [0, 1, 2, 3, 4]
    assert len(finished.answer.written.infos) == 5 - finished.run.step
    assert finished.answer.error.restore() is error


def test_workers_that_keep_dying_are_an_error() -> None:
    crew = FakeCrew(ORDER, shuffled(0, deaths=1.0))
    crew.deaths_left = 5
    with pytest.raises(WorkerError, match="keep dying"):
        Setting(crew).rest()


def test_a_run_that_does_not_come_within_the_time_limit_is_an_error_that_names_it() -> None:
    setting = Setting(FakeCrew(ORDER), timeout=30.0)
    assert setting.take() == [0]
    setting.crew.turn = nobody
    before = setting.crew.clock.now
    with pytest.raises(WorkerTimeoutError, match="within 30 s: at step 1"):
        setting.rest()
    assert setting.crew.clock.now - before == pytest.approx(30.0)


def test_the_time_limit_counts_anew_for_every_run_that_is_waited_for() -> None:
    crew = FakeCrew(ORDER)
    every_other = count()
    crew.turn = lambda crew: in_order(crew) if next(every_other) % 40 == 0 else []
    setting = Setting(crew, timeout=30.0)
    assert setting.rest() == STEPS
    assert crew.clock.now > FakeClock().now + 100.0


def test_while_workers_are_busy_with_an_epoch_that_was_left_the_time_limit_says_so() -> None:
    crew = FakeCrew(ORDER, nobody, workers=1)
    setting = Setting(crew, timeout=10.0)
    for step in (7, 8):
        slot = setting.ring.acquire()
        assert slot is not None
        crew.hands[0].append(Assignment(Run(0, step, 1, slot), setting.ring, wanted=False))
    with pytest.raises(WorkerTimeoutError, match="at an earlier epoch"):
        setting.take()
    crew.turn = in_order
    assert setting.rest() == STEPS
    assert setting.ring.filling == 0


@pytest.mark.parametrize("taken", range(8))
@pytest.mark.parametrize("turn", [in_order, backwards, nobody])
def test_an_epoch_that_is_left_gives_every_slot_back(taken: int, turn: Any) -> None:
    setting = Setting(FakeCrew(ORDER))
    for _ in range(taken):
        setting.take()
    setting.crew.turn = turn
    for _ in range(3):
        setting.window.ready()
    setting.leave()


def test_an_interrupt_in_any_call_of_the_crew_comes_out_and_what_was_taken_before_is_right() -> None:
    for at in count(1):
        points, caught = Points(at), None
        taken: list[int] = []
        try:
            setting = Setting(FakeCrew(ORDER, shuffled(at), points=points))
            while steps := setting.take():
                taken += steps
        except KeyboardInterrupt as error:
            caught = error
        assert caught is (points.error if points.where else None)
        assert taken == STEPS[: len(taken)]
        if not points.where:
            assert taken == STEPS
            break
    assert at > 30


def test_the_next_epoch_is_handed_out_while_the_last_steps_of_this_one_are_made() -> None:
    crew = FakeCrew(ORDER, nobody, workers=4)
    setting = Setting(crew, start=18, most_steps=1, reach=Reach(epochs=3))
    assert not setting.window.ready()
    in_hand = sorted((one.run.epoch, one.run.step) for one in crew.in_hand())
    assert in_hand[:3] == [(0, 18), (0, 19), (0, 20)]
    assert in_hand[3:] == [(1, step) for step in range(len(in_hand) - 3)] != []


@pytest.mark.parametrize("deaths", [0.0, 0.3])
def test_steps_of_several_epochs_come_in_order_and_no_run_is_of_two(deaths: float) -> None:
    for seed in range(20):
        reach = Reach(epochs=3, left_out=LeftOut(((0, 20, 21), (1, 0, 19), (2, 3, 5))))
        setting = Setting(FakeCrew(ORDER, shuffled(seed, deaths), workers=3), start=17, reach=reach)
        found: list[tuple[int, int]] = []
        while (finished := setting.window.take()) is not None:
            run = finished.run
            found += [(run.epoch, step) for step in range(run.step, run.step + run.steps)]
            setting.ring.release(run.slot)
        kept = [(0, step) for step in (17, 18, 19)] + [(1, 19), (1, 20)]
        assert found == kept + [(2, step) for step in range(21) if step not in (3, 4)]


def test_a_stream_without_end_goes_on_until_it_is_closed() -> None:
    setting = Setting(FakeCrew(ORDER), reach=Reach(epochs=None))
    last = None
    for _ in range(50):
        last = setting.window.take()
        assert last is not None
        setting.ring.release(last.run.slot)
    assert last is not None and last.run.epoch > 4
    setting.window.close()
    assert setting.window.take() is None
