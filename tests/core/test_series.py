"""Durations as a count, a total and a histogram."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.core.series import Series

DURATIONS = st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=200)


def series(durations: list[float]) -> Series:
    made = Series()
    for seconds in durations:
        made.add(seconds)
    return made


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


@given(DURATIONS, DURATIONS)
def test_what_is_joined_is_as_if_it_had_been_added(some: list[float], others: list[float]) -> None:
    joined, added = series(some), series(some + others)
    joined.join(series(others))
    assert joined.total == pytest.approx(added.total)
    joined.total = added.total
    assert joined == added


@given(DURATIONS, DURATIONS)
def test_what_came_later_can_be_told_from_what_was_before(before: list[float], after: list[float]) -> None:
    found, wanted = series(before + after).since(series(before)), series(after)
    assert found.count == wanted.count
    assert found.total == pytest.approx(wanted.total, rel=1e-3, abs=1e-6 * sum(before))
    assert found.largest == pytest.approx(wanted.largest, rel=0.1)
    assert found.quantile(0.5) == pytest.approx(wanted.quantile(0.5), rel=0.1)


def test_nothing_has_no_quantile_and_no_largest() -> None:
    assert Series().quantile(0.5) == 0.0
    assert Series().since(Series()).largest == 0.0
