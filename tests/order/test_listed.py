from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp.order import IndexSampler


def test_records_come_as_they_are_written_down() -> None:
    for numbers in ([3, 1, 3], np.array([3, 1, 3], np.uint8)):
        choice = IndexSampler(numbers).over(4)
        assert [choice.at(1, epoch, np.array([2, 1])).tolist() for epoch in (0, 9)] == [[3, 1], [3, 1]]


def test_a_function_says_them_anew_for_each_epoch_and_is_asked_once() -> None:
    asked = []

    def of_epoch(epoch: int) -> list[int]:
        asked.append(epoch)
        return [epoch, 0]

    choice = IndexSampler(of_epoch).over(10)
    assert [choice.at(0, epoch, np.arange(2)).tolist() for epoch in (1, 1, 5)] == [[1, 0], [1, 0], [5, 0]]
    assert asked == [0, 1, 5]


def test_what_filters_leave_out_is_left_out() -> None:
    narrowed = IndexSampler([5, 1, 3, 1]).over(6).narrowed(np.array([1, 2, 5]))
    assert narrowed.at(0, 0, np.arange(narrowed.length)).tolist() == [2, 0, 0]
    with pytest.raises(ValueError, match="none of the 1 records of the sampler is left"):
        IndexSampler([5]).over(6).narrowed(np.array([1, 2]))


def test_a_number_that_is_no_record_s_is_an_error_when_its_turn_comes() -> None:
    choice = IndexSampler([0, 4, -1]).over(4)
    assert choice.at(0, 0, np.array([0])).tolist() == [0]
    for position, number in ((1, 4), (2, -1)):
        with pytest.raises(IndexError, match=f"names record {number}, and the source has 4"):
            choice.at(0, 0, np.array([position]))


def test_epochs_of_different_length_are_an_error() -> None:
    choice = IndexSampler(lambda epoch: list(range(epoch + 1))).over(4)
    with pytest.raises(ValueError, match="returned 2 numbers for epoch 1 and 1 for epoch 0"):
        choice.at(0, 1, np.array([0]))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ([], ValueError, "empty"),
        ([0.5], TypeError, "integers"),
        ([[1]], ValueError, "axis"),
        ([True], TypeError, "bool"),
    ],
)
def test_what_are_no_numbers_is_an_error(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        IndexSampler(wrong)
