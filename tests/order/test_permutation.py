from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import permute
from datarax_mp.order.hashing import GOLDEN, key_of, mix64, mix64_each, uniform
from datarax_mp.order.permutation import permute_each

JUST_ABOVE_POWERS_OF_TWO = [2**bits + 1 for bits in (5, 8, 10, 12)]


def whole(length: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return permute(np.arange(length), length, seed=seed, epoch=epoch)


@given(length=st.integers(1, 5000), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**31))
def test_every_length_is_a_bijection(length: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(whole(length, seed, epoch)), np.arange(length))


@pytest.mark.parametrize("length", range(1, 70))
def test_every_small_length_is_a_bijection(length: int) -> None:
    assert sorted(whole(length, seed=11).tolist()) == list(range(length))


@given(length=st.integers(1, 2**61), start=st.integers(0, 2**61), seed=st.integers(0, 99))
def test_any_part_can_be_asked_for_alone_whatever_the_length(length: int, start: int, seed: int) -> None:
    start %= length
    positions = np.arange(start, min(start + 50, length))
    together = permute(positions, length, seed=seed, epoch=3)
    assert [int(permute(positions[i : i + 1], length, seed=seed, epoch=3)[0]) for i in range(0, len(positions), 7)] == (
        together[::7].tolist()
    )
    assert len(set(together.tolist())) == len(positions)
    assert together.min() >= 0
    assert together.max() < length


def test_the_order_is_the_same_under_every_release() -> None:
    # Recorded orders and checkpoints depend on these very numbers.
    assert whole(10, seed=42, epoch=0).tolist() == RECORDED_10
    assert permute(np.array([0, 1, 2, 10**12]), 10**12 + 1, seed=2**63, epoch=7).tolist() == RECORDED_LARGE


RECORDED_10 = [0, 6, 3, 5, 7, 2, 4, 1, 9, 8]
RECORDED_LARGE = [741716959630, 423028273118, 293047182123, 433717736828]


@given(length=st.integers(2, 10**6), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_tables_change_nothing_about_the_order(length: int, seed: int, epoch: int) -> None:
    positions = np.arange(0, length, max(1, length // 50))
    count = len(positions)
    seeds = np.full(count, mix64(seed + GOLDEN), np.uint64)
    without = permute_each(positions, np.full(count, length), seeds, np.full(count, epoch))
    assert permute(positions, length, seed=seed, epoch=epoch).tolist() == without.tolist()


@given(
    st.lists(
        st.tuples(st.integers(1, 2**61) | st.integers(1, 3000), st.integers(0, 2**64 - 1), st.integers(0, 2**40)),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 2**62),
)
def test_many_permutations_asked_at_once_say_what_each_says_alone(cases: list[tuple[int, int, int]], at: int) -> None:
    lengths, seeds, epochs = (list(column) for column in zip(*cases, strict=True))
    positions = np.array([at % length for length in lengths])
    hashed = np.array([mix64(seed + GOLDEN) for seed in seeds], np.uint64)
    together = permute_each(positions, np.array(lengths), hashed, np.array(epochs))
    assert together.tolist() == [
        int(permute(positions[n : n + 1], lengths[n], seed=seeds[n], epoch=epochs[n])[0]) for n in range(len(cases))
    ]


def test_hashes_of_many_words_are_those_of_each() -> None:
    words = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    assert mix64_each(words).tolist() == [mix64(int(word)) for word in words]


def test_random_numbers_are_uniform() -> None:
    numbers = uniform(key_of(3, 0), np.arange(100_000))
    assert 0 <= numbers.min() <= numbers.max() < 1
    assert np.abs(np.histogram(numbers, 20, (0, 1))[0] - 5000).max() < 5 * math.sqrt(5000)
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {tuple(whole(50, seed, epoch).tolist()) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def chi_square_excess(counts: np.ndarray, expected: float, freedom: int) -> float:
    """By how many standard deviations chi-square exceeds its mean, were the counts what chance gives."""
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom))


@pytest.mark.parametrize("length", [2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65])
def test_every_record_comes_to_every_position_equally_often(length: int) -> None:
    epochs = 1200
    counts = np.zeros((length, length))
    for epoch in range(epochs):
        counts[np.arange(length), whole(length, seed=1, epoch=epoch)] += 1
    assert abs(chi_square_excess(counts, epochs / length, (length - 1) ** 2)) < 5


@pytest.mark.parametrize("length", [3, 4, 5])
def test_every_permutation_of_a_few_records_comes_equally_often(length: int) -> None:
    draws = 60 * math.factorial(length)
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(draws):
        order = tuple(whole(length, seed=seed).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == math.factorial(length)
    assert abs(chi_square_excess(np.array(list(counts.values())), 60, len(counts) - 1)) < 5


@pytest.mark.parametrize("length", [*JUST_ABOVE_POWERS_OF_TWO, 1000, 4096])
def test_neighbours_are_no_closer_than_chance(length: int) -> None:
    epochs = 60
    adjacent, correlation, lag = [], [], []
    for epoch in range(epochs):
        order = whole(length, seed=5, epoch=epoch)
        adjacent.append(int((np.abs(np.diff(order)) == 1).sum()))
        correlation.append(np.corrcoef(np.arange(length), order)[0, 1] * math.sqrt(length))
        lag.append(np.corrcoef(order[:-1], order[1:])[0, 1] * math.sqrt(length))
    # In a random permutation the number of adjacent neighbours is Poisson with mean 2, the correlations are normal.
    assert abs(np.mean(adjacent) - 2) < 5 * math.sqrt(2 / epochs)
    for values in (correlation, lag):
        assert abs(np.mean(values)) < 5 / math.sqrt(epochs)
        assert 0.7 < np.std(values) < 1.3


@pytest.mark.parametrize("length", JUST_ABOVE_POWERS_OF_TWO)
def test_the_first_batch_draws_from_the_whole_source(length: int) -> None:
    first = np.concatenate([permute(np.arange(16), length, seed=9, epoch=epoch) for epoch in range(150)])
    counts = np.histogram(first, bins=16, range=(0, length))[0]
    edges = np.histogram(np.arange(length), bins=16, range=(0, length))[0]
    expected = edges / length * len(first)
    assert float(((counts - expected) ** 2 / expected).sum()) < 15 + 5 * math.sqrt(30)
