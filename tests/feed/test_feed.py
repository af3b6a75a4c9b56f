"""An epoch's batches come in order, whatever workers and user do."""

from __future__ import annotations

from collections import deque
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest

from datarax_mp.feed.feed import Feed
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.feed.lending import Failure
from datarax_mp.feed.ring_plan import RingPlan
from datarax_mp.feed.tuning import WorkerTuner
from datarax_mp.order import Order, Sequential
from datarax_mp.order.reach import Reach
from datarax_mp.ring import Ring
from tests.fakes import FakeCrew, Points, in_order, layout, nobody, shuffled

ORDER = Order(Sequential(122), batch_size=3)  # 41 steps
RECORDS = list(range(122))


def make(crew: FakeCrew, *, slots: int = 9, steps: int = 4, lendable: int = 5, **options: Any) -> tuple[Feed, Ring]:
    made = layout(ORDER.batch_size)
    ring = Ring(slots, steps * made.block_bytes, shared=False)
    crew.attach(ring, crew.layouts())
    usual: dict[str, Any] = {"padded": False, "adaptive": True, "timeout": None, "tuner": None}
    plan = RingPlan(slots, steps, lendable)
    legs = Reach().legs(ORDER, 0, 0)
    return Feed(crew, ring, made, ORDER, legs, plan=plan, clock=crew.clock, **{**usual, **options}), ring


def records(batch: Any) -> list[int]:
    assert isinstance(batch, HostBatch)
    return [number for array in batch.arrays() for number in array.tolist()]


def array_of(batch: Any, step: int) -> np.ndarray:
    """The array of a step's batch; the batch itself is dropped, as a delivery does, because it holds the slot."""
    assert isinstance(batch, HostBatch) and batch.step == step
    [array] = batch.arrays()
    return array


def rest(feed: Feed) -> list[int]:
    found = []
    while (batch := feed.next_batch()) is not None:
        found += records(batch)
    return found


@pytest.mark.parametrize("deaths", [0.0, 0.2])
def test_every_record_comes_once_and_in_order_whatever_is_kept_and_whoever_dies(deaths: float) -> None:
    for seed in range(150):
        random = Random(seed)
        lendable = random.randrange(4)
        crew = FakeCrew(ORDER, shuffled(seed, deaths), workers=random.randint(1, 4))
        feed, ring = make(crew, slots=lendable + random.randint(1, 4), lendable=lendable)
        kept: dict[int, np.ndarray] = {}
        held: deque[Any] = deque(maxlen=random.randrange(5))
        for step in range(ORDER.steps(0)):
            if random.random() < 0.3:
                feed.ready()
            array = array_of(feed.next_batch(), step)
            assert array.tolist() == ORDER.records(0, step).tolist()
            held.append(array)
            if random.random() < 0.2:
                kept[step] = array
        assert feed.next_batch() is None
        for step, array in kept.items():
            assert array.tolist() == ORDER.records(0, step).tolist()
        del array
        held.clear()
        kept.clear()
        feed.close()
        crew.leave()
        assert ring.filling == ring.leased == 0


def test_what_is_left_of_a_run_stands_ready_whatever_the_workers_do() -> None:
    crew = FakeCrew(ORDER, workers=1)
    feed, _ = make(crew, steps=4, adaptive=False)
    assert not feed.ready()
    feed.next_batch()
    crew.turn = nobody
    for _ in range(3):
        assert feed.ready()
        feed.next_batch()
    assert not feed.ready()


def test_elements_are_delivered_in_runs_of_a_fixed_length() -> None:
    crew = FakeCrew(ORDER, workers=2, seconds=1.0)
    feed, _ = make(crew, steps=8, adaptive=False)
    assert rest(feed) == RECORDS
    assert [run.steps for run in crew.submitted] == [8, 8, 8, 8, 8, 1]


def test_an_error_takes_the_place_of_its_batch_and_is_the_last() -> None:
    error = ValueError("no good")
    feed, _ = make(FakeCrew(ORDER, shuffled(3), errors={17: error}))
    found = []
    while isinstance(batch := feed.next_batch(), HostBatch):
        found += records(batch)
    assert batch == Failure(error)
    assert found == list(range(17 * 3))


def test_while_the_caller_waits_workers_are_added() -> None:
    crew = FakeCrew(ORDER, workers=1)
    tuner = WorkerTuner(4, crew.clock)
    feed, _ = make(crew, steps=1, tuner=tuner)

    def sharing(crew: FakeCrew) -> Any:
        crew.clock.now += 0.1 / len(crew.hands)
        return in_order(crew)

    crew.turn = sharing
    assert rest(feed) == RECORDS
    assert len(crew.hands) == tuner.workers == 4


def slow(crew: FakeCrew) -> Any:
    """Every run takes a second, however many workers there are."""
    crew.clock.now += 1.0
    return in_order(crew)


def test_the_time_that_the_caller_is_away_decides_how_deep_workers_are_filled() -> None:
    for away, depth in ((0.0, 1), (5.0, 2)):
        crew = FakeCrew(ORDER, slow, workers=2, seconds=1.0)
        feed, _ = make(crew, steps=1)
        for _ in range(20):
            assert feed.next_batch() is not None
            crew.clock.now += away
        crew.turn = nobody
        feed.ready()
        assert [len(hand) for hand in crew.hands] == [depth, depth]


@pytest.mark.parametrize("received", range(12))
def test_an_epoch_that_is_left_in_the_middle_of_a_run_gives_every_slot_back(received: int) -> None:
    crew = FakeCrew(ORDER, shuffled(received))
    feed, ring = make(crew)
    kept = [feed.next_batch() for _ in range(received)]
    feed.ready()
    feed.close()
    crew.leave()
    crew.finish_what_is_left()
    assert ring.filling == 0
    del kept
    assert ring.leased == 0


def test_an_interrupt_anywhere_in_the_crew_loses_nothing_that_was_received() -> None:
    for at in count(1):
        points, caught = Points(at), None
        received: list[int] = []
        try:
            feed, _ = make(FakeCrew(ORDER, shuffled(at), points=points))
            while (batch := feed.next_batch()) is not None:
                received += records(batch)
        except KeyboardInterrupt as error:
            caught = error
        assert caught is (points.error if points.where else None)
        assert received == RECORDS[: len(received)]
        if caught is None:
            break
    assert received == RECORDS
    assert at > 50
