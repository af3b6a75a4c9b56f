from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import Choice, WeightedSampler

weights = st.lists(st.sampled_from([0.0, 1e-9, 0.5, 1.0, 3.0, 1e9]), min_size=1, max_size=30).filter(any)


def drawn(choice: Choice, epoch: int = 0, seed: int = 0) -> np.ndarray:
    return choice.at(seed, epoch, np.arange(choice.length))


@given(weights, st.integers(0, 2**64 - 1), st.booleans())
def test_a_record_without_a_weight_is_never_drawn(given_: list[float], seed: int, replacement: bool) -> None:
    choice = WeightedSampler(given_, replacement=replacement).over(len(given_))
    records = drawn(choice, seed=seed)
    assert all(given_[record] > 0 for record in records.tolist())
    assert all(given_[record] > 0 for record in choice.examples(np.arange(1)).tolist())
    if not replacement:
        assert sorted(records.tolist()) == [record for record, weight in enumerate(given_) if weight]


def test_records_come_as_often_as_their_weights_say() -> None:
    given_ = np.array([0, 1, 2, 3, 4, 0, 10], float)
    counts = np.bincount(drawn(WeightedSampler(given_, num_samples=100_000).over(7)), minlength=7)
    expected = given_ / given_.sum() * 100_000
    there = expected > 0
    assert (((counts - expected)[there] ** 2) / expected[there]).sum() < 4 + 5 * math.sqrt(8)
    assert not counts[~there].any()


def test_without_replacement_the_first_record_is_drawn_by_weight_and_the_next_among_those_left() -> None:
    given_ = np.array([1.0, 2.0, 5.0])
    choice = WeightedSampler(given_, replacement=False).over(3)
    orders = np.stack([drawn(choice, epoch) for epoch in range(8000)])
    first = np.bincount(orders[:, 0], minlength=3) / len(orders)
    assert np.abs(first - given_ / 8).max() < 0.02
    second = orders[orders[:, 0] == 2, 1]
    assert abs((second == 1).mean() - 2 / 3) < 0.02


def test_fewer_records_than_there_are_weights_are_the_first_of_all() -> None:
    given_ = np.arange(50) % 7 + 1.0
    all_, few = (WeightedSampler(given_, replacement=False, num_samples=n).over(50) for n in (50, 20))
    assert drawn(few, 3).tolist() == drawn(all_, 3)[:20].tolist()


def test_weights_of_an_epoch_are_those_that_the_function_says() -> None:
    def of_epoch(epoch: int) -> list[float]:
        return [float(record == epoch % 3) for record in range(3)]

    for replacement in (True, False):
        choice = WeightedSampler(of_epoch, replacement=replacement).over(3)
        assert [set(drawn(choice, epoch).tolist()) for epoch in (0, 1, 2, 1)] == [{0}, {1}, {2}, {1}]


@pytest.mark.parametrize("returned", [2, 4])
@pytest.mark.parametrize("replacement", [True, False])
def test_an_epoch_with_more_or_fewer_weights_than_records_is_an_error_that_says_which(
    returned: int, replacement: bool
) -> None:
    sampler = WeightedSampler(
        lambda epoch: np.ones(returned if epoch == 5 else 3), replacement=replacement, num_samples=2
    )
    message = f"has returned {returned} weights for epoch 5: expected one for each of the source's 3 records"
    for choice in (sampler.over(3), sampler.over(3).narrowed(np.array([0, 1]))):
        drawn(choice, 4)
        with pytest.raises(ValueError, match=message):
            drawn(choice, 5)
        drawn(choice, 6)


def test_filters_leave_the_proportions_of_the_weights() -> None:
    given_ = np.array([1.0, 100.0, 3.0])
    narrowed = WeightedSampler(given_, num_samples=40_000).over(3).narrowed(np.array([0, 2]))
    assert abs((drawn(narrowed) == 0).mean() - 0.25) < 0.01


@pytest.mark.parametrize(
    ("wrong", "more", "error", "message"),
    [
        ([1.0, -1.0], {}, ValueError, "at least 0 and finite; that of record 1 is -1.0"),
        ([1.0, math.nan], {}, ValueError, "that of record 1 is nan"),
        ([0.0, 0.0], {}, ValueError, "all 2 records are 0"),
        ([], {}, ValueError, "all 0 records"),
        ([[1.0]], {}, ValueError, "one axis"),
        (["1"], {}, TypeError, "weights must be numbers"),
        ([1.0], {"num_samples": 0}, ValueError, "num_samples must be at least 1"),
        ([1.0], {"replacement": "no"}, TypeError, "replacement must be a bool"),
    ],
)
def test_what_are_no_weights_is_an_error(wrong: Any, more: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        WeightedSampler(wrong, **more)


def test_weights_for_another_source_and_too_few_records_are_errors() -> None:
    with pytest.raises(ValueError, match="as many as the source has records, 3; found 2"):
        WeightedSampler([1, 2]).over(3)
    with pytest.raises(ValueError, match="2 records cannot be drawn without replacement: 1 of 2"):
        WeightedSampler([1, 0], replacement=False, num_samples=2).over(2)
