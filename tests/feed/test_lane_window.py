"""Which steps of lanes are handed out, when, and what is told with them; answers come in any order."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.crews.base import Abilities, Assignment, Crew
from datarax_mp.feed.depth import Depth
from datarax_mp.feed.lane_window import LaneWindow
from datarax_mp.order import order_of
from datarax_mp.order.lanes import LaneCursor, LaneOrder, Lanes
from datarax_mp.order.reach import Reach
from datarax_mp.recipe.work import Done, FromLane, Written
from datarax_mp.ring import Ring

ROWS = 2


class Reading(Crew):
    """Reads lanes of some lengths, whose records are numbers; answers one assignment at a time, any of them."""

    abilities = Abilities(concurrent=True)

    def __init__(self, lengths: list[int], seed: int) -> None:
        self.lengths, self.draw = lengths, random.Random(seed)
        self.hand: list[Assignment] = []

    def has_room(self, depth: int) -> bool:
        return len(self.hand) < 3

    def submit(self, job: Any) -> None:
        lanes = [other.run.lane.number for other in self.hand]
        assert job.run.lane.number not in lanes, "a lane is with one worker at a time"
        assert job.run.step % len(self.lengths) == job.run.lane.number
        self.hand.append(job)

    def answers(self, seconds: float | None) -> list[Any]:
        if not self.hand or (seconds == 0 and self.draw.random() < 0.5):
            return []
        job = self.hand.pop(self.draw.randrange(len(self.hand)))
        lane, cursor = job.run.lane
        assert not cursor.ended
        rows = min(ROWS, self.lengths[lane] - cursor.records)
        numbers = np.arange(cursor.records, cursor.records + rows) * len(self.lengths) + lane
        after = LaneCursor(cursor.records + rows, ended=rows < ROWS)
        return [(job, Done(0.001, Written([None], {}, {}, (), FromLane(numbers.tobytes(), after))))]


def window(
    lengths: list[int], order: LaneOrder, *, seed: int = 0, epochs: int = 1, epoch: int = 0, step: int = 0
) -> tuple[LaneWindow, Ring]:
    legs, ring = Reach(epochs).legs(order, epoch, step), Ring(4, 64, shared=False)
    return LaneWindow(Reading(lengths, seed), ring, order, legs, depth=Depth(0.0), timeout=None), ring


def order(lengths: list[int]) -> LaneOrder:
    made = order_of(Lanes(len(lengths)), ROWS)
    assert isinstance(made, LaneOrder)
    return made


def taken(one: LaneWindow, ring: Ring) -> list[tuple[int, int, list[int], LaneOrder]]:
    found = []
    while (finished := one.take()) is not None:
        assert isinstance(finished.order, LaneOrder) and finished.order.told is not None
        run = finished.run
        found.append((run.epoch, run.step, finished.order.records(run.epoch, run.step).tolist(), finished.order))
        ring.take_back([run.slot])
        one.ready()
    return found


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 99), st.integers(1, 3))
def test_steps_come_in_order_each_lane_by_itself_and_go_on_from_what_any_was_told(
    lengths: list[int], seed: int, epochs: int
) -> None:
    lanes, made = len(lengths), order(lengths)
    found = taken(*window(lengths, made, seed=seed, epochs=epochs))
    wanted = sorted(
        (
            epoch,
            turn * lanes + lane,
            [index * lanes + lane for index in range(turn * ROWS, min(turn * ROWS + ROWS, length))],
        )
        for epoch in range(epochs if any(lengths) else 1)  # without a record, no other epoch is tried
        for lane, length in enumerate(lengths)
        for turn in range(length // ROWS + 1)
    )
    assert [(epoch, step, numbers) for epoch, step, numbers, _ in found] == wanted
    for place in range(0, len(found) if any(lengths) else 0, 3):
        epoch, step, _, told = found[place]
        rest = taken(*window(lengths, told, seed=seed + 1, epochs=epochs, epoch=epoch, step=step + 1))
        assert [one[:3] for one in rest] == wanted[place + 1 :]


def test_a_window_that_is_closed_hands_out_nothing_any_more() -> None:
    one, _ = window([5, 5], order([5, 5]))
    assert one.take() is not None
    one.close()
    assert one.take() is None
