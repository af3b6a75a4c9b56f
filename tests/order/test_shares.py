from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order.shares import Shares, whole_weights

weights = st.lists(st.integers(0, 60), min_size=1, max_size=9).filter(any)


@given(weights)
def test_everybody_has_had_a_share_of_the_turns_to_within_less_than_one_at_every_moment(given_: list[int]) -> None:
    shares = Shares.of(given_)
    turns = np.arange(1, len(shares.owner) + 1)
    for who, weight in enumerate(given_):
        counts = np.cumsum(shares.owner == who)
        assert (np.abs(counts * sum(given_) - turns * weight) < sum(given_)).all()


@given(weights, st.integers(0, 10_000))
def test_counts_and_turns_are_those_of_the_turns_one_by_one(given_: list[int], turns: int) -> None:
    shares = Shares.of(given_)
    counts = [0] * len(given_)
    for turn in range(turns % 400):
        who = int(shares.owner[turn % len(shares.owner)])
        assert shares.turn(who, counts[who]) == turn
        assert shares.rank[turn % len(shares.owner)] == counts[who] % shares.weights[who]
        counts[who] += 1
    assert shares.counts(turns % 400) == counts


@given(st.lists(st.fractions(0, 1000) | st.floats(0, 1e9), min_size=1, max_size=20).filter(any), st.integers(100, 5000))
def test_weights_become_whole_numbers_that_are_not_too_many(given_: list[float | Fraction], most: int) -> None:
    whole = whole_weights(given_, most)
    assert 0 < sum(whole) <= most
    assert [weight > 0 for weight in whole] == [weight > 0 for weight in given_]


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=20), st.integers(1000, 9000))
def test_shares_that_are_not_exact_are_the_nearest(given_: list[int], most: int) -> None:
    whole = whole_weights(given_, most)
    if min(given_) * most >= sum(given_):  # nobody's share has to be raised to the least one
        for weight, share in zip(given_, whole, strict=True):
            assert abs(Fraction(share, sum(whole)) - Fraction(weight, sum(given_))) < Fraction(1, sum(whole))


def test_shares_as_people_write_them_are_exact() -> None:
    assert whole_weights([0.7, 0.2, 0.1], 1000) == (7, 2, 1)
    assert whole_weights([0.25, 0.5, 0.25], 1000) == (1, 2, 1)
    assert whole_weights([1 / 3, 2 / 3], 1000) == (1, 2)
    assert whole_weights([6, 0, 4], 1000) == (3, 0, 2)
