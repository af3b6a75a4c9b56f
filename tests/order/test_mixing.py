"""Mixtures, beside one that is made record by record."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarax_mp.order import Choice, Mixing, Sequential, Shuffled
from datarax_mp.order.hashing import part_seed
from datarax_mp.order.shares import Shares


def mixing(parts: list[Choice], schedule: list[tuple[int, list[int]]], stop: Any = "repeat") -> Mixing:
    offsets = np.cumsum([0, *(part.length for part in parts)])[:-1].tolist()
    fractions = tuple((start, tuple(map(Fraction, weights))) for start, weights in schedule)
    return Mixing.of(parts, offsets, [f"source {n}" for n in range(len(parts))], fractions, stop)


def one_by_one(mixture: Mixing, seed: int) -> Iterator[tuple[int, int, int, int]]:
    """Source, its epoch, its position and the record's number, without end, as the definition says it."""
    schedule = [(start, list(weights)) for start, weights in mixture.schedule]
    counts, record, epoch = [0] * len(mixture.parts), 0, 0
    weights, begin = schedule[0][1], 0
    ended: set[int] = set()
    while True:
        for start, later in schedule:
            if start == record:
                weights, begin = later, record
        there = [Fraction(0) if who in ended else weight for who, weight in enumerate(weights)]
        shares = Shares.of(there)
        who = int(shares.owner[(record - begin) % len(shares.owner)])
        if mixture.stop == "repeat":
            epoch = counts[who] // mixture.parts[who].length
        place = counts[who] % mixture.parts[who].length
        [number] = mixture.parts[who].at(part_seed(seed, who), epoch, np.array([place])).tolist()
        yield who, epoch, place, mixture.offsets[who] + number
        counts[who] += 1
        record += 1
        if mixture.stop != "repeat" and counts[who] == mixture.parts[who].length:
            ended.add(who)
            begin = record
            if mixture.stop == "first" or len(ended) == len(mixture.parts):
                counts, record, epoch = [0] * len(mixture.parts), 0, epoch + 1
                weights, begin, ended = schedule[0][1], 0, set()


part = st.builds(Sequential, st.integers(1, 30)) | st.builds(Shuffled, st.integers(1, 30))


@st.composite
def mixtures(draw: st.DrawFn) -> Mixing:
    parts = draw(st.lists(part, min_size=1, max_size=5))
    least = draw(st.sampled_from([0, 1]))
    stop = draw(st.sampled_from(["repeat", "first", "last"])) if least else "repeat"
    weights = st.lists(st.integers(least, 6), min_size=len(parts), max_size=len(parts)).filter(any)
    starts = [0, *sorted(draw(st.sets(st.integers(1, 80), max_size=3)))]
    return mixing(parts, [(start, draw(weights)) for start in starts], stop)


@settings(max_examples=300)
@given(mixtures(), st.integers(0, 2**64 - 1), st.data())
def test_any_part_of_a_mixture_is_what_the_definition_says(mixture: Mixing, seed: int, data: st.DataObject) -> None:
    epochs = 2
    reference = one_by_one(mixture, seed)
    expected = [[next(reference)[3] for _ in range(mixture.length)] for _ in range(epochs)]
    for epoch in range(epochs):
        begin = data.draw(st.integers(0, mixture.length - 1))
        end = data.draw(st.integers(begin, mixture.length))
        assert mixture.at(seed, epoch, np.arange(begin, end)).tolist() == expected[epoch][begin:end]
        places = data.draw(st.lists(st.integers(0, mixture.length - 1), max_size=9))
        assert mixture.at(seed, epoch, np.array(places, np.int64)).tolist() == [expected[epoch][n] for n in places]


@given(mixtures(), st.integers(0, 99))
def test_the_epoch_is_as_long_as_it_says(mixture: Mixing, seed: int) -> None:
    epoch = mixture.at(seed, 0, np.arange(mixture.length)).tolist()
    total = sum(part.length for part in mixture.parts)
    if mixture.stop == "repeat":
        assert mixture.length == total
    elif mixture.stop == "last":
        assert sorted(epoch) == list(range(total))
    else:
        assert len(set(epoch)) == len(epoch)
        counts = mixture.counts(mixture.length)
        assert any(count == part.length for count, part in zip(counts, mixture.parts, strict=True))
        before = mixture.counts(mixture.length - 1)
        assert all(count < part.length for count, part in zip(before, mixture.parts, strict=True))


@given(mixtures(), st.integers(0, 300))
def test_counts_are_never_a_record_off_what_the_weights_say(mixture: Mixing, records: int) -> None:
    records = records if mixture.stop == "repeat" else records % (mixture.length + 1)
    counts, expected = mixture.counts(records), mixture.expected(records)
    assert sum(counts) == records
    assert sum(expected) == pytest.approx(records)
    assert max(abs(one - other) for one, other in zip(counts, expected, strict=True)) < len(mixture.spans)


def test_every_source_is_read_through_before_any_of_its_records_comes_again() -> None:
    mixture = mixing([Shuffled(7), Shuffled(100)], [(0, [1, 1])])
    records = np.concatenate([mixture.at(3, epoch, np.arange(107)) for epoch in range(4)])
    small = records[records < 7]
    assert all(sorted(small[n : n + 7].tolist()) == list(range(7)) for n in range(0, len(small) - 6, 7))
    orders = {tuple(small[n : n + 7].tolist()) for n in range(0, len(small) - 6, 7)}
    assert len(orders) > 25


def test_equally_long_sources_are_shuffled_each_by_itself() -> None:
    mixture = mixing([Shuffled(50), Shuffled(50)], [(0, [1, 1])])
    records = mixture.at(0, 0, np.arange(100))
    assert (records[records < 50] != records[records >= 50] - 50).any()


def test_weights_change_at_the_very_record_that_the_schedule_names() -> None:
    mixture = mixing([Sequential(10**9), Sequential(10**9)], [(0, [1, 0]), (1_000_000, [0, 1]), (1_000_003, [1, 1])])
    records = mixture.at(0, 0, np.arange(999_998, 1_000_007))
    assert records.tolist() == [999_998, 999_999, 10**9, 10**9 + 1, 10**9 + 2, 10**6, 10**9 + 3, 10**6 + 1, 10**9 + 4]


def test_a_mixture_of_mixtures_and_of_other_choices() -> None:
    inner = mixing([Shuffled(5), Sequential(3)], [(0, [2, 1])])
    outer = mixing([inner, Shuffled(11)], [(0, [1, 2])])
    reference = one_by_one(outer, 9)
    expected = [next(reference)[3] for _ in range(3 * outer.length)]
    assert [n for epoch in range(3) for n in outer.at(9, epoch, np.arange(outer.length)).tolist()] == expected


@given(mixtures(), st.integers(0, 99), st.data())
def test_a_mixture_of_the_records_that_filters_leave(mixture: Mixing, seed: int, data: st.DataObject) -> None:
    total = sum(part.length for part in mixture.parts)
    firsts = set(mixture.offsets)
    numbers = np.array(sorted(firsts | data.draw(st.sets(st.integers(0, total - 1)))))
    places = mixture.narrowed(numbers)
    assert places.length <= len(numbers)
    assert set(places.at(seed, 0, np.arange(places.length)).tolist()) <= set(range(len(numbers)))
    counts = [
        int(((numbers >= offset) & (numbers < offset + part.length)).sum())
        for offset, part in zip(mixture.offsets, mixture.parts, strict=True)
    ]
    assert [part.length for part in places.parts] == counts


def test_a_source_of_which_filters_leave_nothing_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="none of the records of source 'source 1' is left"):
        mixing([Sequential(3), Sequential(3)], [(0, [1, 1])]).narrowed(np.array([0, 2]))


def test_a_source_without_a_weight_that_never_ends_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"at record 3 of the mixture, sources \[1\].*no weight"):
        mixing([Sequential(3), Sequential(3)], [(0, [1, 0])], "last")


def test_the_last_epoch_that_can_be_counted_is_there() -> None:
    mixture = mixing([Shuffled(3), Shuffled(4)], [(0, [3, 1])])
    records = mixture.at(1, (1 << 62) - 1, np.arange(7))
    assert 0 <= records.min() <= records.max() < 7


def test_facts_tell_mixtures_apart_and_are_small() -> None:
    many = [mixing([Shuffled(n + 1) for n in range(35)], [(0, [1] * 34 + [last])]) for last in (1, 2)]
    assert many[0].facts() != many[1].facts()
    assert len(str(many[0].facts())) < 200
