"""Numbers, windows and cursors of lanes, as values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.order import order_of
from datarax_mp.order.lanes import BEGIN, LaneCursor, LaneOrder, Lanes

small = st.integers(0, 50)


def order(lanes: int = 3, window: int = 1, items: int = 1, **more: object) -> LaneOrder:
    made = order_of(Lanes(lanes, window, items), 4, **more)
    assert isinstance(made, LaneOrder)
    return made


@given(st.integers(2, 60), st.integers(0, 60), st.integers(0, 2**64 - 1), st.tuples(small, small, small))
def test_a_window_is_permuted_and_by_all_that_it_is_said_by(
    window: int, records: int, seed: int, rest: tuple[int, int, int]
) -> None:
    epoch, lane, number = rest
    records = min(window, records)
    lanes = Lanes(51, window)
    found = lanes.window_order(seed, epoch, lane, number, records).tolist()
    assert sorted(found) == list(range(records))
    assert found == lanes.window_order(seed, epoch, lane, number, records).tolist()


def test_windows_of_other_seeds_epochs_lanes_and_numbers_come_in_other_orders() -> None:
    lanes, ways = Lanes(4, 40), list(itertools.product(range(3), repeat=4))
    assert len({tuple(lanes.window_order(*way, 40).tolist()) for way in ways}) == len(ways)


@given(lanes=st.integers(1, 9), items=st.integers(1, 5), places=st.lists(st.tuples(small, small, small), max_size=20))
def test_a_number_says_lane_record_and_item(lanes: int, items: int, places: list[tuple[int, int, int]]) -> None:
    made = order(lanes, items=items)
    places = sorted({(lane % lanes, index, item % items) for lane, index, item in places})
    numbers = np.array([made.number(*place) for place in places], np.int64)
    assert len(set(numbers.tolist())) == len(places)
    assert made.origins(numbers).tolist() == [index * lanes + lane for lane, index, _ in places]
    for (lane, index, item), named in zip(places, made.named(numbers), strict=True):
        assert str(named) == f"{index} of lane {lane}" + (f", item {item} of it" if item else "")


def test_an_order_says_of_a_step_what_it_was_told_and_is_the_same_order() -> None:
    made = order()
    cursors = (LaneCursor(4), BEGIN, LaneCursor(2, ended=True))
    told = made.tell(1, cursors, np.array([0, 3]))
    assert told == made
    assert (told.rows(1, 0), told.width(0), told.records(1, 0).tolist()) == (2, 4, [0, 3])
    assert told.cursors(1) == cursors
    assert told.cursors(0) == told.cursors(2) == made.cursors(1) == (BEGIN,) * 3
    assert told.tell(1, cursors, np.empty(0, np.int64)).width(0) == 0


def test_what_is_not_known_beforehand_is_not_made_up() -> None:
    lanes = Lanes(3)
    with pytest.raises(TypeError, match="not known before"):
        lanes.at(0, 0, np.arange(3))
    with pytest.raises(ValueError, match="beforehand"):
        lanes.narrowed(np.arange(3))
    assert order().records(0, 5).tolist() == []
