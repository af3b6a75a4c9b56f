from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import Batches, LengthGroups, Order, Sequential, Shuffled

LENGTHS = np.random.default_rng(0).integers(1, 1000, 1000)


def epoch_of(lengths: Any, rows: int, seed: int = 0, epoch: int = 0, **more: Any) -> np.ndarray:
    choice = LengthGroups(lengths, **more).over(Shuffled(len(lengths)), len(lengths), Batches(rows, 1, False))
    return choice.at(seed, epoch, np.arange(choice.length))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=120), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_a_pool_s_records_are_those_of_the_other_choice_in_batches_of_neighbours(
    lengths: list[int], rows: int, batches: int, seed: int
) -> None:
    order = epoch_of(lengths, rows, seed, batches=batches)
    plain = Shuffled(len(lengths)).at(seed, 0, np.arange(len(lengths)))
    size = rows * batches
    for begin in range(0, len(lengths), size):
        pool, other = order[begin : begin + size].tolist(), plain[begin : begin + size].tolist()
        assert sorted(pool) == sorted(other)
        ranks = {record: rank for rank, record in enumerate(sorted(other, key=lambda n: (lengths[n], other.index(n))))}
        for first in range(0, len(pool), rows):
            batch = [ranks[record] for record in pool[first : first + rows]]
            assert batch == list(range(batch[0], batch[0] + len(batch)))


def test_batches_are_of_similar_length_and_in_a_random_order() -> None:
    batches = LENGTHS[epoch_of(LENGTHS, 10, batches=50).reshape(100, 10)]
    assert np.ptp(batches, axis=1).mean() < 40
    assert abs(np.corrcoef(np.arange(100), batches.mean(1))[0, 1]) < 0.3
    assert (epoch_of(LENGTHS, 10) != epoch_of(LENGTHS, 10, epoch=1)).any()


def test_the_batch_that_is_not_full_is_any_of_them() -> None:
    lasts = [LENGTHS[epoch_of(LENGTHS, 33, epoch=epoch)[-10:]].mean() for epoch in range(40)]
    assert min(lasts) < 300
    assert max(lasts) > 700


def test_another_batch_size_goes_on_in_the_same_order_if_rows_are_named() -> None:
    choice = LengthGroups(LENGTHS, batches=5, rows=10).over(Sequential(1000), 1000, Batches(7, 1, False))
    assert (
        choice.facts()
        == LengthGroups(LENGTHS, batches=5, rows=10).over(Sequential(1000), 1000, Batches(5, 2, False)).facts()
    )
    order = Order(choice, 7)
    assert np.concatenate([order.records(0, step) for step in range(len(order))]).tolist() == (
        choice.at(0, 0, np.arange(1000)).tolist()
    )


@pytest.mark.parametrize(
    ("wrong", "more", "error", "message"),
    [
        (["1"], {}, TypeError, "lengths must be numbers"),
        ([[1]], {}, ValueError, "one axis"),
        ([1], {"batches": 0}, ValueError, "batches must be at least 1"),
        ([1], {"rows": 0}, ValueError, "rows must be at least 1"),
    ],
)
def test_what_makes_no_groups_is_an_error(wrong: Any, more: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LengthGroups(wrong, **more)


def test_lengths_of_another_source_are_an_error() -> None:
    with pytest.raises(ValueError, match="lengths must be as many as the source has records, 3; found 1"):
        LengthGroups([1]).over(Sequential(3), 3, Batches(2, 1, False))
