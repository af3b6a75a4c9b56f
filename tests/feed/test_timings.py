"""What is noted of the time that everybody takes: sums are exact, quantiles are right to a tenth."""

from __future__ import annotations

import pytest

from datarax_mp.core.series import Series
from datarax_mp.crews.base import Member
from datarax_mp.feed.feed import Feed
from datarax_mp.feed.ring_plan import RingPlan
from datarax_mp.feed.timings import Timings
from datarax_mp.order import Order, Sequential
from datarax_mp.order.reach import Reach
from datarax_mp.recipe.recorder import Phase
from datarax_mp.recipe.watch import Timed
from datarax_mp.recipe.work import Done, Written
from datarax_mp.ring import Ring
from tests.fakes import FakeCrew, in_order, layout

ORDER = Order(Sequential(40), batch_size=2)  # 20 steps


def test_a_feed_notes_who_waits_for_whom_per_batch_and_the_first_wait_apart() -> None:
    crew = FakeCrew(ORDER, in_order, workers=1, seconds=0.5)
    made, timings = layout(ORDER.batch_size), Timings()
    ring = Ring(9, 4 * made.block_bytes, shared=False)
    crew.attach(ring, crew.layouts())
    feed = Feed(
        crew,
        ring,
        made,
        ORDER,
        Reach().legs(ORDER, 0, 0),
        plan=RingPlan(9, 4, 5),
        padded=False,
        adaptive=False,
        timeout=None,
        tuner=None,
        timings=timings,
        clock=crew.clock,
    )
    for _ in range(20):
        assert feed.next_batch() is not None
        crew.clock.now += 0.25  # the caller's step
    assert feed.next_batch() is None
    assert timings.batches == 20
    assert timings.first.count == 1
    assert (timings.made.count, timings.made.total) == (20, pytest.approx(20 * 0.5))
    assert timings.away.count == timings.waited.count == 16  # all but the first run's
    assert timings.away.total == pytest.approx(16 * 0.25)
    assert timings.copied == 0
    feed.close()


def test_batches_that_are_copied_are_counted() -> None:
    crew, timings = FakeCrew(ORDER, in_order), Timings()
    made = layout(ORDER.batch_size)
    ring = Ring(5, made.block_bytes, shared=False)
    crew.attach(ring, crew.layouts())
    usual = {"padded": False, "adaptive": False, "timeout": None, "tuner": None}
    legs = Reach().legs(ORDER, 0, 0)
    feed = Feed(crew, ring, made, ORDER, legs, plan=RingPlan(5, 1, 2), timings=timings, clock=crew.clock, **usual)  # type: ignore[arg-type]
    kept = [feed.next_batch() for _ in range(20)]
    arrays = [batch.arrays() for batch in kept]  # type: ignore[union-attr]
    assert timings.copied == 18
    assert len(arrays) == 20


def test_of_the_same_workers_nobody_hears_again_within_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    timings, told = Timings(), list[int]()
    timings.listeners["test"] = lambda: told.append(1)
    some, others = FakeCrew(ORDER, in_order), FakeCrew(ORDER, in_order)
    others.members = lambda: [Member(2)]  # type: ignore[method-assign]
    for batch in range(2):
        timings.gave(away=0, waited=0, done=Done(0.02, Written.nothing()), steps=1, now=100.0 + batch)
    told.clear()
    timings.opening(some, now=101.1)
    timings.opening(some, now=101.2)
    assert len(told) == 1  # of the first ones
    timings.opening(others, now=101.3)
    assert len(told) == 2  # of other ones
    timings.opening(others, now=101.6)
    assert len(told) == 3  # after half a second
    timings.opening(others, now=101.4)
    assert len(told) == 3
    monkeypatch.setattr("os.getpid", lambda: 7)
    timings.opening(others, now=101.4)
    assert len(told) == 4  # in a forked process, which has a page of its own


def test_of_thousands_of_workers_the_newest_have_figures_and_all_are_counted() -> None:
    timings, part = Timings(), (Phase.READING, 0)
    for worker in range(1000):
        series = Series()
        series.add(0.01)
        timed = Timed(1, worker, 0.02, 0.02, 0.0, None, None, {part: series}, 0, 0, 0, [])
        timings.gave(away=0, waited=0, done=Done(0.02, Written.nothing(), timed), steps=1, now=float(worker))
    assert list(timings.threads) == list(range(936, 1000))
    assert [thread for thread, _ in timings.thread_parts] == list(timings.threads)
    assert timings.looked.count == timings.parts[part].count == 1000
