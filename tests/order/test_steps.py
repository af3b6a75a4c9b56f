from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import Order

orders = st.builds(
    Order,
    length=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**32),
    drop_last=st.booleans(),
)


def epoch_of(order: Order, epoch: int = 0) -> list[int]:
    return [int(n) for step in range(len(order)) for n in order.records(epoch, step)]


@given(order=orders)
def test_an_epoch_holds_every_record_once_or_drops_only_the_rest(order: Order) -> None:
    records = epoch_of(order)
    assert len(set(records)) == len(records)
    dropped = order.length % order.batch_size if order.drop_last else 0
    assert len(records) == order.length - dropped


@given(order=orders, steps=st.integers(1, 9))
def test_several_steps_at_once_are_the_steps_one_by_one(order: Order, steps: int) -> None:
    for first in range(0, len(order), steps):
        count = min(steps, len(order) - first)
        together = order.records(2, first, count).tolist()
        assert together == [int(n) for step in range(first, first + count) for n in order.records(2, step)]
        assert len(together) == sum(order.rows(step) for step in range(first, first + count))


@given(length=st.integers(1, 200), count=st.integers(1, 9), shuffle=st.booleans())
def test_shards_together_are_the_epoch(length: int, count: int, shuffle: bool) -> None:
    shards = [Order(length, 7, shuffle=shuffle, seed=3, shard_index=index, shard_count=count) for index in range(count)]
    assert sorted(n for shard in shards for n in epoch_of(shard)) == list(range(length))


def test_shard_k_serves_positions_k_and_every_nth_after_it() -> None:
    assert epoch_of(Order(10, 4, shard_index=1, shard_count=3)) == [1, 4, 7]


def test_without_shuffle_every_epoch_is_in_order() -> None:
    order = Order(10, 3)
    assert np.array_equal(order.records(5, 0), [0, 1, 2])
    assert order.rows(3) == 1


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"length": -1}, {"shard_index": 2, "shard_count": 2}])
def test_what_makes_no_order_is_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Order(**{"length": 5, "batch_size": 2, **wrong})
