"""Which steps a stream has, from a position on: over epochs, with steps left out, with and without an end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import Order, Sequential
from datarax_mp.order.left_out import LeftOut
from datarax_mp.order.reach import Reach

ORDER = Order(Sequential(22), batch_size=4)  # 6 steps

some_steps = st.dictionaries(st.integers(0, 4), st.sets(st.integers(0, 5)), max_size=4)


def left_out(steps: dict[int, set[int]]) -> LeftOut:
    made = LeftOut()
    for epoch, numbers in steps.items():
        made = made.with_steps(epoch, numbers)
    return made


def steps_of(reach: Reach, epoch: int, step: int, most: int = 1000) -> list[tuple[int, int]]:
    legs = itertools.islice(reach.legs(ORDER, epoch, step), most)
    return [(leg.epoch.number, number) for leg in legs for number in range(leg.start, leg.stop)]


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 6), some_steps)
def test_it_is_what_plain_counting_says(epochs: int, epoch: int, step: int, out: dict[int, set[int]]) -> None:
    expected, end = [], epoch
    while end % epochs or end == epoch:
        end += 1
    for number in range(epoch, end):
        for one in range(step if number == epoch else 0, 6):
            if one not in out.get(number, ()):
                expected.append((number, one))
    assert steps_of(Reach(epochs=epochs, left_out=left_out(out)), epoch, step) == expected
    assert Reach(epochs=epochs).end(epoch) == end


@given(some_steps)
def test_what_is_left_out_survives_json_and_is_the_same_in_any_order(steps: dict[int, set[int]]) -> None:
    made = left_out(steps)
    assert LeftOut.of_json(made.as_json()) == made
    assert left_out(dict(reversed(steps.items()))) == made
    assert bool(made) == any(steps.values())
    for epoch in range(5):
        kept = {step for first, stop in made.kept(epoch, 0, 6) for step in range(first, stop)}
        assert kept == set(range(6)) - steps.get(epoch, set())
    assert made.since(3) == left_out({epoch: numbers for epoch, numbers in steps.items() if epoch >= 3})


@pytest.mark.parametrize("kind", [np.int32, np.uint64, np.array])
def test_a_state_may_have_been_through_numpy(kind: Callable[[int], Any]) -> None:
    made = left_out({1: {2, 3}, 4: {0}})
    found = LeftOut.of_json([[kind(number) for number in one] for one in made.as_json()])
    assert found == made
    assert json.dumps(found.as_json()) == "[[1, 2, 4], [4, 0, 1]]"
    assert LeftOut.of_json(np.array(made.as_json())) == made


def test_ranges_that_touch_become_one_in_either_direction() -> None:
    assert LeftOut().with_steps(1, range(9, 3, -1)).with_steps(1, range(10, 20)).ranges == ((1, 4, 20),)


def test_a_state_has_room_for_so_many_ranges() -> None:
    with pytest.raises(ValueError, match="50 ranges of steps .* room for 40"):
        LeftOut().with_steps(0, range(0, 100, 2))


@pytest.mark.parametrize(
    "wrong",
    [3, [3], [[1, 2]], [[0, 3, 3]], [[0, -1, 2]], [[0, 1.0, 2]], [["a", 1, 2]], [[1 << 63, 1, 2]], [[True, 1, 2]]],
)
def test_what_is_no_list_of_ranges_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"must be a list of \[epoch, first, stop\]"):
        LeftOut.of_json(wrong)


def test_without_an_end_it_goes_on_for_ever_unless_there_is_nothing() -> None:
    assert steps_of(Reach(epochs=None), 2, 5, most=3)[-1] == (4, 5)
    nothing = Order(Sequential(3), batch_size=4, drop_last=True)
    assert list(Reach(epochs=None).legs(nothing, 0, 0)) == []
    assert list(Reach(epochs=5).legs(nothing, 0, 0)) == []


def test_so_many_steps_stay_within_the_epoch() -> None:
    assert steps_of(Reach(steps=2), 1, 3) == [(1, 3), (1, 4)]
    assert steps_of(Reach(steps=2), 1, 5) == [(1, 5)]
