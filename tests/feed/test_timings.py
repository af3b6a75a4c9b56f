"""What is noted of the time that everybody takes: sums are exact, quantiles are right to a tenth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.feed.feed import Feed
from datarax_mp.feed.ring_plan import RingPlan
from datarax_mp.feed.timings import Series, Timings
from datarax_mp.order import Order, Sequential
from datarax_mp.order.reach import Reach
from datarax_mp.ring import Ring
from tests.fakes import FakeCrew, in_order, layout

ORDER = Order(Sequential(40), batch_size=2)  # 20 steps


@given(st.lists(st.tuples(st.floats(2e-6, 3600.0), st.integers(1, 5)), min_size=1, max_size=50))
def test_a_series_is_what_numpy_says_of_all_durations(durations: list[tuple[float, int]]) -> None:
    series = Series()
    for seconds, times in durations:
        series.add(seconds, times)
    every = np.repeat([seconds for seconds, _ in durations], [times for _, times in durations])
    assert series.count == len(every)
    assert series.total == pytest.approx(every.sum())
    assert series.largest == every.max()
    for share in (0.5, 0.99):
        expected = np.quantile(every, share, method="inverted_cdf")
        assert series.quantile(share) == pytest.approx(expected, rel=0.1)


def test_what_is_shorter_than_a_microsecond_or_longer_than_weeks_counts_too() -> None:
    series = Series()
    for seconds in (0.0, 1e-9, 1e9):
        series.add(seconds)
    assert series.count == 3
    assert series.quantile(0.5) < 2e-6
    assert series.largest == 1e9
    assert Series().quantile(0.5) == 0.0


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
