from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import ShuffleWindow


def epoch_of(length: int, records: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return ShuffleWindow(records=records).over(length).at(seed, epoch, np.arange(length))


@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_every_record_comes_once_and_windows_are_stretches(length: int, records: int, seed: int, epoch: int) -> None:
    order = epoch_of(length, records, seed, epoch)
    assert sorted(order.tolist()) == list(range(length))
    size = min(records, length)
    begins = set()
    for begin in range(0, length - size + 1, size):
        window = order[begin : begin + size]
        # A stretch of the source, which may go on from its end at its begin.
        assert any(
            set(((first + np.arange(len(window))) % length).tolist()) == set(window.tolist())
            for first in window.tolist()
        )
        begins.add(min(window.tolist()))
    assert len(begins) >= length // size - 1


def test_windows_come_in_another_order_and_are_cut_elsewhere_in_every_epoch() -> None:
    def grouped(epoch: int) -> set[frozenset[int]]:
        return {frozenset(window.tolist()) for window in epoch_of(1000, 50, epoch=epoch).reshape(20, 50)}

    assert not grouped(0) & grouped(1)
    firsts = [epoch_of(1000, 50, epoch=epoch)[:50].mean() for epoch in range(40)]
    assert max(firsts) - min(firsts) > 500


def test_windows_are_shuffled_each_by_itself() -> None:
    order = epoch_of(1000, 100).reshape(10, 100)
    shapes = {tuple((window - window.min()).tolist()) for window in order if window.max() - window.min() < 100}
    assert len(shapes) >= 9


@pytest.mark.parametrize("records", [4, 3000])
def test_a_few_records_and_many_at_once_are_asked_in_different_ways_and_say_the_same(records: int) -> None:
    choice = ShuffleWindow(records=records).over(10_003)
    together = choice.at(3, 1, np.arange(10_003))
    singly = np.concatenate([choice.at(3, 1, np.arange(n, min(n + 5, 10_003))) for n in range(0, 10_003, 5)])
    assert sorted(together.tolist()) == list(range(10_003))
    assert together.tolist() == singly.tolist()


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), ("9", TypeError), (True, TypeError), (2.0, TypeError)])
def test_a_window_has_at_least_one_record(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="records must be"):
        ShuffleWindow(records=wrong)
