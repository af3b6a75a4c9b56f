"""What every choice of records promises, whatever its kind: a pure function of (seed, epoch, position)."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import (
    Among,
    Batches,
    Choice,
    ClassBalancedSampler,
    IndexSampler,
    LengthGroups,
    Mixing,
    Order,
    Sequential,
    Shuffled,
    ShuffleWindow,
    TokenBudget,
    WeightedSampler,
)
from datarax_mp.order.blockwise import Blockwise

RECORDS = 60

WEIGHTS = np.arange(RECORDS) % 5 + 0.5


def mix(stop: Any) -> Choice:
    weights = tuple(Fraction(weight) for weight in (3, 1, 2))
    schedule = ((0, weights), (25, weights[::-1]))
    return Mixing.of([Shuffled(10), Sequential(20), Shuffled(30)], [0, 10, 30], ["a", "b", "c"], schedule, stop)


CHOICES: dict[str, Callable[[], Choice]] = {
    "sequential": lambda: Sequential(RECORDS),
    "shuffled": lambda: Shuffled(RECORDS),
    "among": lambda: Among.those(Shuffled(2 * RECORDS), np.arange(0, 2 * RECORDS, 2)),
    "window of 7": lambda: ShuffleWindow(records=7).over(RECORDS),
    "window of all": lambda: ShuffleWindow(records=1000).over(RECORDS),
    "weighted": lambda: WeightedSampler(WEIGHTS).over(RECORDS),
    "weighted by epoch": lambda: WeightedSampler(lambda epoch: WEIGHTS + epoch).over(RECORDS),
    "weighted once": lambda: WeightedSampler(WEIGHTS, replacement=False, num_samples=40).over(RECORDS),
    "weighted once by epoch": lambda: WeightedSampler(lambda epoch: WEIGHTS + epoch, replacement=False).over(RECORDS),
    "listed": lambda: IndexSampler(np.arange(RECORDS)[::-1]).over(RECORDS),
    "listed by epoch": lambda: IndexSampler(lambda epoch: np.roll(np.arange(RECORDS), epoch)).over(RECORDS),
    "balanced": lambda: ClassBalancedSampler(np.arange(RECORDS) ** 2 % 11, num_samples=45).over(RECORDS),
    "grouped": lambda: LengthGroups(WEIGHTS, batches=3).over(Shuffled(RECORDS), RECORDS, Batches(7, 1, False)),
    "grouped mixture": lambda: LengthGroups(WEIGHTS, batches=3).over(mix("repeat"), RECORDS, Batches(7, 1, False)),
    "of a budget": lambda: TokenBudget(40, np.arange(RECORDS) % 13, bounds=[2, 6, 12]).over(
        Shuffled(RECORDS), RECORDS, Batches(9, 1, False)
    ),
    "mixed": lambda: mix("repeat"),
    "mixed to the first end": lambda: mix("first"),
    "mixed to the last end": lambda: mix("last"),
}

BLOCKS = np.cumsum([7, 0, 13, 1, 20, 4, 9, 6])
CHOICES |= {
    "blocks": lambda: Blockwise(BLOCKS, blocks=3),
    "blocks of one": lambda: Blockwise(BLOCKS, blocks=1),
    "blocks of two hosts": lambda: Blockwise(BLOCKS, blocks=3, hosts=2, rows=4),
    "blocks in order": lambda: Blockwise(BLOCKS, blocks=0),
}

BY_FUNCTION = {"weighted by epoch", "weighted once by epoch", "listed by epoch"}

kinds = pytest.mark.parametrize("kind", CHOICES)


def whole(choice: Choice, seed: int = 5, epoch: int = 2) -> np.ndarray:
    return choice.at(seed, epoch, np.arange(choice.length))


@kinds
@given(data=st.data())
def test_any_positions_may_be_asked_for_alone_and_in_any_order(kind: str, data: st.DataObject) -> None:
    choice = CHOICES[kind]()
    epoch = whole(choice)
    assert epoch.dtype == np.int64
    positions = np.array(data.draw(st.lists(st.integers(0, choice.length - 1), max_size=70)), np.int64)
    before = positions.copy()
    assert choice.at(5, 2, positions).tolist() == epoch[positions].tolist()
    assert (positions == before).all()


@kinds
def test_what_is_handed_out_is_the_caller_s_own(kind: str) -> None:
    choice = CHOICES[kind]()
    records = choice.at(5, 2, np.arange(choice.length))
    kept = records.copy()
    records[...] = -1
    assert (whole(choice) == kept).all()


@kinds
def test_records_are_those_there_are(kind: str) -> None:
    choice, many = CHOICES[kind](), 2 * RECORDS if kind == "among" else RECORDS
    for epoch in (0, 1, 7, (1 << 62) - 1):
        if kind not in BY_FUNCTION or epoch < 100:
            records = whole(choice, (1 << 64) - 1, epoch)
            assert len(records) == choice.length
            assert 0 <= records.min() <= records.max() < many
    examples = choice.examples(np.arange(9))
    assert 0 <= examples.min() <= examples.max() < many


@kinds
def test_epochs_and_seeds_differ_where_it_is_shuffled(kind: str) -> None:
    choice = CHOICES[kind]()
    streams = {tuple(whole(choice, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    if choice.shuffled:
        assert len(streams) == 9
    else:
        assert len(streams) == (3 if kind in BY_FUNCTION else 1)


@pytest.mark.parametrize("kind", [kind for kind in CHOICES if kind not in BY_FUNCTION])  # a lambda does not pickle
def test_another_process_says_the_same(kind: str) -> None:
    choice = CHOICES[kind]()
    expected = whole(choice).tolist()
    assert whole(pickle.loads(pickle.dumps(choice))).tolist() == expected


@kinds
def test_facts_are_small_and_plain(kind: str) -> None:
    facts = CHOICES[kind]().facts()
    assert json.loads(json.dumps(facts)) == facts == CHOICES[kind]().facts()
    assert len(json.dumps(facts)) < 200
    assert {"length", "shuffle"} <= facts.keys()
    assert facts["length"] == CHOICES[kind]().length


def test_facts_tell_kinds_apart() -> None:
    alike = ("among", "blocks in order")  # as shuffled, and as sequential
    told = {json.dumps({**make().facts(), "length": 0}) for name, make in CHOICES.items() if name not in alike}
    assert len(told) == len(CHOICES) - len(alike)


@kinds
def test_among_some_records_it_names_their_places(kind: str) -> None:
    choice = CHOICES[kind]()
    numbers = np.array([n for n in range(2 * RECORDS if kind == "among" else RECORDS) if n % 6 in (0, 2, 4, 5)])
    if kind == "among":
        numbers = numbers[numbers % 2 == 0]
    if kind == "listed by epoch":
        with pytest.raises(ValueError, match="cannot be combined with Filter"):
            choice.narrowed(numbers)
        return
    if kind == "weighted once by epoch":
        with pytest.raises(ValueError, match="60 records cannot be drawn without replacement: 40 of 40"):
            choice.narrowed(numbers)
        return
    narrowed = choice.narrowed(numbers)
    places = whole(narrowed)
    assert 0 <= places.min() <= places.max() < len(numbers)
    again = Among(narrowed, numbers)
    assert set(whole(again).tolist()) <= set(numbers.tolist())


@kinds
@given(batch=st.integers(1, 25), count=st.integers(1, 3), other=st.integers(1, 25), data=st.data())
def test_shards_and_batch_sizes_may_change_at_every_step(
    kind: str, batch: int, count: int, other: int, data: st.DataObject
) -> None:
    def rest(order: Order, count: int) -> list[int]:
        shards = [replace(order, shard_index=index, shard_count=count) for index in range(count)]
        steps = range(shards[0].steps(3))
        return [n for step in steps for shard in shards for n in shard.records(3, step).tolist()]

    choice = CHOICES[kind]()
    expected = whole(choice, 9, 3).tolist()
    order = Order(choice, batch, seed=9)
    assert rest(order, count) == expected
    first = replace(order, shard_count=count)
    step = data.draw(st.integers(0, first.steps(3)))
    place = first.place(3, step)
    later = replace(order, batch_size=other, start=place, start_epoch=3)
    assert rest(later, data.draw(st.integers(1, 3))) == expected[place:]
