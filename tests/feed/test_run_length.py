"""How many steps a run has. None of this shows in the stream."""

from __future__ import annotations

import pytest

from datarax_mp.feed.run_length import GOOD_SECONDS, RunLength

QUICK, GOOD, SLOW = GOOD_SECONDS / 100, GOOD_SECONDS, GOOD_SECONDS * 3


def lengths(length: RunLength, seconds: list[float]) -> list[int]:
    """The lengths of the runs, each handed out when the one before it has been done."""
    found = []
    for each in seconds:
        found.append(length.steps)
        length.observe(length.steps, each)
    return found


def test_it_begins_with_one_step_and_doubles_while_runs_are_quick() -> None:
    assert lengths(RunLength(12, adaptive=True), [QUICK] * 6) == [1, 2, 4, 8, 12, 12]


def test_a_length_that_takes_the_right_time_is_kept() -> None:
    assert lengths(RunLength(64, adaptive=True), [QUICK, QUICK, GOOD, GOOD, GOOD]) == [1, 2, 4, 4, 4]


def test_slow_runs_are_halved_down_to_one_step() -> None:
    assert lengths(RunLength(64, adaptive=True), [QUICK, QUICK, QUICK, SLOW, SLOW, SLOW, SLOW, GOOD]) == [
        *(1, 2, 4, 8, 4, 2, 1, 1)
    ]


def test_an_answer_to_a_shorter_run_that_was_handed_out_earlier_lets_it_grow_only_once() -> None:
    length = RunLength(64, adaptive=True)
    for _ in range(4):  # all were handed out before the first of them was answered
        length.observe(1, QUICK)
    assert length.steps == 2


def test_a_quick_answer_to_a_run_that_was_handed_out_before_does_not_shorten_the_next() -> None:
    length = RunLength(64, adaptive=True)
    lengths(length, [QUICK] * 3)
    length.observe(2, QUICK)
    assert length.steps == 8


def test_a_slow_answer_counts_however_old_its_run_is() -> None:
    length = RunLength(64, adaptive=True)
    lengths(length, [QUICK] * 5)
    length.observe(4, SLOW)
    assert length.steps == 2


@pytest.mark.parametrize("seconds", [QUICK, GOOD, SLOW])
def test_a_fixed_length_stays(seconds: float) -> None:
    assert lengths(RunLength(7, adaptive=False), [seconds] * 3) == [7, 7, 7]


def test_no_run_is_longer_than_a_slot() -> None:
    assert lengths(RunLength(1, adaptive=True), [QUICK] * 3) == [1, 1, 1]


def test_a_run_has_a_multiple_of_its_unit() -> None:
    assert lengths(RunLength(14, adaptive=True, unit=3), [QUICK] * 4 + [SLOW] * 3) == [3, 6, 12, 12, 12, 6, 3]
    assert lengths(RunLength(14, adaptive=False, unit=3), [QUICK]) == [12]
