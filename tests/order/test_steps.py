from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import Order, Sequential, Shuffled, in_order_or_shuffled

orders = st.builds(
    Order,
    choice=st.builds(Sequential, st.integers(1, 300)) | st.builds(Shuffled, st.integers(1, 300)),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    drop_last=st.booleans(),
)
counts = st.integers(1, 5)


def shards_of(order: Order, count: int) -> list[Order]:
    return [replace(order, shard_index=index, shard_count=count) for index in range(count)]


def epoch_of(order: Order, epoch: int = 0) -> list[int]:
    return [int(n) for step in range(order.steps(epoch)) for n in order.records(epoch, step)]


@given(order=orders)
def test_an_epoch_holds_every_record_once_or_drops_only_the_rest(order: Order) -> None:
    records = epoch_of(order)
    assert len(set(records)) == len(records)
    dropped = order.length % order.batch_size if order.drop_last else 0
    assert len(records) == order.length - dropped


@given(order=orders, steps=st.integers(1, 9), count=counts)
def test_several_steps_at_once_are_the_steps_one_by_one(order: Order, steps: int, count: int) -> None:
    for shard in shards_of(order, count):
        for first in range(0, len(shard), steps):
            several = min(steps, len(shard) - first)
            together = shard.records(2, first, several).tolist()
            assert together == [int(n) for step in range(first, first + several) for n in shard.records(2, step)]
            assert len(together) == sum(shard.rows(2, step) for step in range(first, first + several))


@given(order=orders, count=counts)
def test_shards_side_by_side_are_the_batches_of_one_pipeline(order: Order, count: int) -> None:
    whole = replace(order, batch_size=order.batch_size * count)
    shards = shards_of(order, count)
    assert {len(shard) for shard in shards} == {len(whole)}
    for step in range(len(whole)):
        rows = [n for shard in shards for n in shard.records(3, step).tolist()]
        assert rows == whole.records(3, step).tolist()


@given(order=orders, count=counts, later=counts, batch_size=st.integers(1, 40), data=st.data())
def test_an_epoch_entered_in_the_middle_holds_exactly_the_rest(
    order: Order, count: int, later: int, batch_size: int, data: st.DataObject
) -> None:
    order = replace(order, drop_last=False)
    before = shards_of(order, count)
    step = data.draw(st.integers(0, len(before[0])))
    seen = [n for done in range(step) for shard in before for n in shard.records(4, done).tolist()]
    place = before[0].place(4, step)
    assert place == len(seen)
    after = replace(order, batch_size=batch_size, start=place, start_epoch=4)
    rest = epoch_of(after, 4)
    assert seen + rest == epoch_of(order, 4)
    assert sorted(n for host in shards_of(after, later) for n in epoch_of(host, 4)) == sorted(rest)
    assert epoch_of(after, 5) == epoch_of(order, 5)


@given(order=orders, count=counts, data=st.data())
def test_global_steps_only_grow(order: Order, count: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, order.length))
    order = replace(order, shard_count=count, start=start, start_epoch=2)
    numbers = [order.global_step(epoch, step) for epoch in range(4) for step in range(order.steps(epoch))]
    assert numbers == sorted(set(numbers))


@given(length=st.integers(1, 200), stride=st.integers(1, 9), shuffle=st.booleans())
def test_parts_of_a_source_together_are_the_epoch(length: int, stride: int, shuffle: bool) -> None:
    choice = in_order_or_shuffled(length, shuffle=shuffle)
    parts = [Order(choice, 7, seed=3, offset=offset, stride=stride) for offset in range(stride)]
    assert sorted(n for part in parts for n in epoch_of(part)) == list(range(length))


def test_part_k_serves_positions_k_and_every_nth_after_it() -> None:
    assert epoch_of(Order(Sequential(10), 4, offset=1, stride=3)) == [1, 4, 7]


def test_a_shard_for_which_nothing_is_left_has_a_step_without_rows() -> None:
    order = Order(Sequential(9), 4, shard_index=1, shard_count=2)
    assert [order.rows(0, step) for step in range(len(order))] == [4, 0]
    assert order.records(0, 1).tolist() == []


def test_without_shuffle_every_epoch_is_in_order() -> None:
    order = Order(Sequential(10), 3)
    assert np.array_equal(order.records(5, 0), [0, 1, 2])
    assert order.rows(5, 3) == 1


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"shard_index": 2, "shard_count": 2}, {"offset": 3}, {"start": 6}]
)
def test_what_makes_no_order_is_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        Order(**{"choice": Sequential(5), "batch_size": 2, **wrong})
