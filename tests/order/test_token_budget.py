from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import Batches, Sequential, Shuffled, TokenBudget, UnevenOrder, WeightedSampler

lengths = st.lists(st.integers(0, 20), min_size=1, max_size=150)


def shards_of(budget: TokenBudget, count: int = 1, most: int = 9, **more: Any) -> list[UnevenOrder]:
    drop_last = more.pop("drop_last", False)
    choice = budget.over(Shuffled(len(budget.lengths)), len(budget.lengths), Batches(most, count, drop_last))
    return [
        UnevenOrder.by(choice, seed=4, drop_last=drop_last, shard_index=index, shard_count=count)
        for index in range(count)
    ]


@given(lengths, st.integers(20, 60), st.integers(1, 12), st.integers(0, 5))
def test_every_record_comes_once_and_no_batch_is_above_the_budget(
    given_: list[int], tokens: int, most: int, epoch: int
) -> None:
    budget = TokenBudget(tokens, given_, bounds=[3, 8, 20])
    [order] = shards_of(budget, most=most)
    records = [order.records(epoch, step).tolist() for step in range(order.steps(epoch))]
    assert sorted(n for batch in records for n in batch) == list(range(len(given_)))
    short: dict[int, int] = {}
    for step, batch in enumerate(records):
        classes = {int(np.searchsorted([3, 8, 20], given_[n])) for n in batch}
        assert len(classes) == 1
        bound = [3, 8, 20][classes.pop()]
        assert order.width(step) == min(most, tokens // bound)
        assert len(batch) == order.rows(epoch, step) <= order.width(step)
        short[bound] = short.get(bound, 0) + (len(batch) < order.width(step))
    assert set(short.values()) <= {0, 1}
    assert order.ragged == any(short.values())


@given(lengths, st.integers(1, 3), st.booleans())
def test_shards_side_by_side_are_one_order(given_: list[int], count: int, drop_last: bool) -> None:
    budget = TokenBudget(40, given_, bounds=[5, 20])
    shards = shards_of(budget, count, drop_last=drop_last)
    place = 0
    seen = []
    for step in range(len(shards[0])):
        assert {shard.place(1, step) for shard in shards} == {place}
        rows = [shard.records(1, step).tolist() for shard in shards]
        assert [len(part) for part in rows] == [shard.rows(1, step) for shard in shards]
        assert len({shard.first_row(1, step) for shard in shards}) == count
        seen += [n for part in rows for n in part]
        place += sum(map(len, rows))
        if drop_last:
            assert {len(part) for part in rows} == {shards[0].width(step)}
    assert place == shards[0].places
    assert len(set(seen)) == len(seen)
    if drop_last:
        rows = shards[0].choice.rows * count  # type: ignore[attr-defined]
        assert len(given_) - len(seen) < rows.sum()
    else:
        assert sorted(seen) == list(range(len(given_)))


@given(lengths, st.data())
def test_several_steps_at_once_are_the_steps_one_by_one(given_: list[int], data: st.DataObject) -> None:
    for order in shards_of(TokenBudget(40, given_, bounds=[5, 20]), 2):
        first = data.draw(st.integers(0, len(order) - 1))
        steps = data.draw(st.integers(1, len(order) - first))
        together = [part.tolist() for part in order.by_step(0, first, steps)]
        assert together == [order.records(0, step).tolist() for step in range(first, first + steps)]


def test_classes_take_turns_evenly() -> None:
    given_ = np.array([1] * 600 + [10] * 200)
    [order] = shards_of(TokenBudget(20, given_, bounds=[2, 10]), most=10)
    widths = [order.width(step) for step in range(len(order))]
    assert widths.count(10) == 60
    assert widths.count(2) == 100
    for end in range(1, len(widths)):
        assert abs(widths[:end].count(10) - end * 60 / 160) < 1


def test_batches_have_other_records_of_their_class_in_every_epoch() -> None:
    [order] = shards_of(TokenBudget(20, np.arange(200) % 10, bounds=[5, 9]))
    epochs = [{frozenset(order.records(epoch, step).tolist()) for step in range(len(order))} for epoch in range(2)]
    assert len(epochs[0] & epochs[1]) < 5


@given(lengths, st.data())
def test_of_the_records_that_filters_leave_every_one_comes_once(given_: list[int], data: st.DataObject) -> None:
    numbers = np.array(sorted(data.draw(st.sets(st.integers(0, len(given_) - 1), min_size=1))))
    order = shards_of(TokenBudget(40, given_, bounds=[5, 20]))[0].among(numbers)
    assert sorted(n for step in range(len(order)) for n in order.records(0, step).tolist()) == numbers.tolist()


def test_bounds_are_the_longest_length_and_its_halves_where_none_are_given() -> None:
    assert TokenBudget(5000, [3, 1000]).bounds == (32, 63, 125, 250, 500, 1000)
    assert TokenBudget(5000, [1, 0]).bounds == (1,)


@pytest.mark.parametrize(
    ("tokens", "given_", "more", "error", "message"),
    [
        (10, [11], {}, ValueError, "records of up to 11 tokens do not fit into a batch of 10"),
        (100, [11], {"bounds": [5, 10]}, ValueError, "the longest record has 11 tokens, and the last of bounds is 10"),
        (100, [1], {"bounds": [5, 5]}, ValueError, "bounds must ascend"),
        (0, [1], {}, ValueError, "tokens must be at least 1"),
        (9, [1.5], {}, TypeError, "lengths must be integers"),
        (9, [], {}, TypeError, "lengths must be integers"),
        (9, [[1]], {}, ValueError, "one axis"),
        (9, [-1], {}, ValueError, "not be negative"),
    ],
)
def test_what_makes_no_budget_is_an_error(
    tokens: int, given_: Any, more: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TokenBudget(tokens, given_, **more)


def test_lengths_of_another_source_and_samplers_are_errors() -> None:
    with pytest.raises(ValueError, match="lengths must be as many as the source has records, 3; found 1"):
        TokenBudget(9, [1]).over(Sequential(3), 3, Batches(2, 1, False))
    with pytest.raises(ValueError, match="cannot be combined with a sampler"):
        TokenBudget(9, [1]).over(WeightedSampler([1]).over(1), 1, Batches(2, 1, False))
