"""What an iterator owes its user, with crews that do as they are told: no process, no device."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np
import pytest

from datarax_mp.core.errors import WorkerError
from datarax_mp.core.strays import claim
from datarax_mp.core.waker import Waker
from datarax_mp.order import Order, Sequential
from datarax_mp.order.reach import Reach
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.options import Options
from datarax_mp.pipeline.session import Resumed, Session
from datarax_mp.pipeline.skips import SkippedRecord, Skips
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.ring import Ring
from tests.fakes import FakeCrew, FakeDelivery, FakeEngine, Points, backwards, in_order, nobody, shuffled

ORDER = Order(Sequential(61), batch_size=3)  # 21 steps, of which the last has one record
RECORDS = [ORDER.records(0, step).tolist() for step in range(21)]


class Setting:
    """A session over fake crews, and iterators of it."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        turn: Any = in_order,
        *,
        prefetch_size: int = 2,
        delivery: FakeDelivery | None = None,
        points: Points | None = None,
        **crew: Any,
    ) -> None:
        self.turn, self.points, self.options = turn, points, crew
        self.prefetch_size = prefetch_size
        self.engine = FakeEngine(monkeypatch, self.make_crew)
        self.delivery = FakeDelivery() if delivery is None else delivery
        recipe = Recipe(np.arange(61), (), ORDER, x64=None)  # type: ignore[arg-type]
        self.session = Session(recipe, Options(0, prefetch_size=prefetch_size), self.delivery)
        self.cursor = Cursor(Position(ORDER, 0, 0))
        self.told: list[tuple[int, int]] = []  # steps and records
        self.telling: Callable[[], object] = lambda: None
        self.skips = Skips(self.tell)

    def make_crew(self, epoch: int, waker: Waker) -> FakeCrew:
        return FakeCrew(ORDER, self.turn, waker=waker, points=self.points, **self.options)

    @property
    def crew(self) -> FakeCrew:
        return self.engine.crews[-1]

    def iterator(self) -> PipelineIterator[Any]:
        """One that has begun where the cursor is."""
        iterator: PipelineIterator[Any] = PipelineIterator(
            self.session, self.cursor, self.prefetch_size, self.dump, self.resume, self.skips
        )
        iterator.begin()
        return iterator

    @staticmethod
    def dump(position: Position) -> dict[str, Any]:
        return {"epoch": position.epoch, "step": position.step}

    def resume(self, state: Mapping[str, Any], _: bool, cursor: Cursor, reach: Reach) -> Resumed:
        return Resumed(self.session, Position(ORDER, state["epoch"], state["step"]), reach)

    def tell(self, skipped: SkippedRecord) -> None:
        self.telling()
        self.told.append((skipped.step, skipped.record))


def received(iterator: Any) -> list[list[int]]:
    return [array.tolist() for array in iterator]


@pytest.mark.parametrize("deaths", [0.0, 0.2])
def test_batches_come_in_order_whatever_workers_do_and_each_counts_when_it_is_received(
    monkeypatch: pytest.MonkeyPatch, deaths: float
) -> None:
    for seed in range(40):
        setting = Setting(monkeypatch, shuffled(seed, deaths), workers=1 + seed % 4, prefetch_size=seed % 5)
        iterator = setting.iterator()
        for step in range(21):
            assert iterator.get_state() == {"epoch": 0, "step": step}
            assert next(iterator).tolist() == RECORDS[step]
        assert received(iterator) == []
        assert iterator.get_state() == {"epoch": 1, "step": 0}
        assert setting.crew.state == "left"


@pytest.mark.parametrize("prefetch_size", [0, 1, 2, 5])
def test_so_many_batches_stand_ready_ahead_of_the_caller_and_no_more(
    monkeypatch: pytest.MonkeyPatch, prefetch_size: int
) -> None:
    setting = Setting(monkeypatch, prefetch_size=prefetch_size)
    iterator = setting.iterator()
    for step in range(21):
        next(iterator)
        assert len(setting.delivery.taken) <= step + 1 + prefetch_size
    ahead = Setting(monkeypatch, prefetch_size=prefetch_size)
    iterator = ahead.iterator()
    for _ in range(10):
        iterator.start_prefetch()
    assert ahead.delivery.taken == list(range(prefetch_size + 1))
    assert received(iterator) == RECORDS


@pytest.mark.parametrize("concurrent", [True, False])
def test_a_batch_that_stands_ready_is_only_handed_over(monkeypatch: pytest.MonkeyPatch, concurrent: bool) -> None:
    setting = Setting(monkeypatch, concurrent=concurrent)
    iterator = setting.iterator()
    while len(setting.delivery.taken) < 3:  # prefetch_size, and the one that next would make
        iterator.start_prefetch()
    done = setting.crew.asked, len(setting.crew.submitted)
    assert next(iterator).tolist() == RECORDS[0]
    assert (setting.crew.asked, len(setting.crew.submitted)) == done
    assert len(setting.delivery.taken) == 3
    assert received(iterator) == RECORDS[1:]


def test_prefetching_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch, nobody)
    iterator = setting.iterator()
    iterator.start_prefetch()
    assert setting.crew.submitted
    assert setting.delivery.taken == []


def test_without_workers_batches_are_made_over_several_calls_not_all_in_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = Setting(monkeypatch, concurrent=False, prefetch_size=3)
    iterator = setting.iterator()
    ahead = []
    for step in range(5):
        next(iterator)
        ahead.append(len(setting.delivery.taken) - step - 1)
    assert ahead == [1, 2, 3, 3, 3]
    assert received(iterator) == RECORDS[5:]


def test_what_a_source_raises_comes_once_behind_the_batches_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("no good")
    setting = Setting(monkeypatch, backwards, errors={7: error})
    iterator, found = setting.iterator(), list[Any]()
    with pytest.raises(ValueError, match="no good") as caught:
        for array in iterator:
            found.append(array.tolist())
    assert caught.value is error
    assert found == RECORDS[:7]
    assert iterator.get_state() == {"epoch": 0, "step": 7}
    assert received(iterator) == []
    assert setting.crew.state == "left"


def test_what_a_device_stage_raises_comes_behind_the_batches_before_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("no good")
    claim(error)
    setting = Setting(monkeypatch, delivery=FakeDelivery({7: error}))
    iterator, found = setting.iterator(), list[Any]()
    with pytest.raises(ValueError, match="no good"):
        for array in iterator:
            found.append(array.tolist())
    assert found == RECORDS[:7]
    assert setting.crew.state == "left"


def test_workers_that_keep_dying_are_an_error_behind_what_stood_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator = setting.iterator()
    while len(setting.delivery.taken) < 3:
        iterator.start_prefetch()
    setting.crew.turn, setting.crew.deaths_left = shuffled(0, deaths=1.0), 3
    found = []
    with pytest.raises(WorkerError, match="keep dying"):
        for array in iterator:
            found.append(array.tolist())
    assert found == RECORDS[: len(found)]
    assert len(found) >= 3
    assert iterator.get_state() == {"epoch": 0, "step": len(found)}
    assert received(setting.iterator()) == RECORDS[len(found) :]


def test_skips_are_told_when_the_batch_that_lacks_them_is_received(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch, skips={2: (1,), 4: (0, 2)})
    iterator = setting.iterator()
    for step in range(5):
        assert next(iterator).tolist() == [
            record for row, record in enumerate(RECORDS[step]) if row not in {2: (1,), 4: (0, 2)}.get(step, ())
        ]
        skipped = [(2, RECORDS[2][1]), (4, RECORDS[4][0]), (4, RECORDS[4][2])]
        assert setting.told == [(of, record) for of, record in skipped if of <= step]


def test_a_batch_that_lacks_all_its_records_is_left_out_and_told_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = Setting(monkeypatch, skips={3: (0, 1, 2), 4: (0, 1, 2), 20: (0,)})
    iterator = setting.iterator()
    assert [next(iterator).tolist() for _ in range(3)] == RECORDS[:3]
    assert setting.told == []
    assert next(iterator).tolist() == RECORDS[5]
    assert setting.told == [(step, record) for step in (3, 4) for record in RECORDS[step]]
    assert iterator.get_state() == {"epoch": 0, "step": 6}
    assert received(iterator) == RECORDS[6:20]
    assert setting.told[6:] == [(20, RECORDS[20][0])]
    assert setting.skips.count == len(setting.told) == len(setting.skips.newest())
    assert setting.delivery.taken == [0, 1, 2, *range(5, 20)]


def test_what_is_raised_when_a_skip_is_told_ends_the_iterator_before_that_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def telling() -> None:
        raise RuntimeError("no skips, please")

    setting = Setting(monkeypatch, skips={2: (1,)})
    setting.telling = telling
    iterator, found = setting.iterator(), list[Any]()
    with pytest.raises(RuntimeError, match="no skips, please"):
        for array in iterator:
            found.append(array.tolist())
    assert found == RECORDS[:2]
    assert iterator.get_state() == {"epoch": 0, "step": 2}
    assert received(iterator) == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, ValueError])
def test_an_interrupt_at_any_moment_leaves_at_once_and_the_state_names_what_was_not_received(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    for at in count(1):
        points, found, caught, iterator = Points(at, kind("from a handler")), list[Any](), None, None
        setting = Setting(
            monkeypatch,
            shuffled(at, 0.1),
            delivery=FakeDelivery(points=points),
            points=points,
            skips={5: (0, 1, 2)},
        )
        setting.telling = lambda points=points: points.reach("told of a skip")
        try:
            iterator = setting.iterator()
            for array in iterator:
                found.append(array.tolist())
        except kind as error:
            caught = error
        assert caught is (points.error if points.where else None), points.where
        expected = RECORDS[:5] + RECORDS[6:]
        assert found == expected[: len(found)]
        if caught is None:
            break
        if iterator is not None:
            assert received(iterator) == []
        assert setting.crew.state == "killed" or points.where == "after FakeCrew.leave", points.where
        assert setting.cursor.at.step <= len(found) + (len(found) > 4)
        assert setting.skips.count in ((0,) if len(found) < 5 else (3,) if len(found) > 5 else (0, 3)), points.where
        assert found + received(setting.iterator()) == expected, points.where
        assert [(skip.step, skip.record) for skip in setting.skips.newest()] == [(5, one) for one in RECORDS[5]]
        assert setting.skips.count == 3, points.where
    assert at > 50


def test_what_was_interrupted_is_ended_and_its_ring_is_never_used_again(
    monkeypatch: pytest.MonkeyPatch, rings: list[Ring]
) -> None:
    setting = Setting(monkeypatch)
    assert received(setting.iterator()) == RECORDS
    setting.cursor.at = Position(ORDER, 0, 0)
    iterator = setting.iterator()
    next(iterator)
    assert len(rings) == 1  # it is the epoch's before
    setting.delivery.errors[8] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        received(iterator)
    assert setting.crew.state == "killed"
    setting.delivery.errors.clear()
    setting.cursor.at = Position(ORDER, 0, 0)
    assert received(setting.iterator()) == RECORDS
    assert len(rings) == 2


def test_a_ring_of_which_slots_are_lost_is_not_used_again(monkeypatch: pytest.MonkeyPatch, rings: list[Ring]) -> None:
    setting = Setting(monkeypatch)
    received(setting.iterator())
    rings[0].acquire()
    received(setting.iterator())
    assert len(rings) == 2


@pytest.mark.parametrize("same_workers", [True, False])
def test_a_ring_that_is_still_written_to_is_used_again_by_those_who_write_to_it(
    monkeypatch: pytest.MonkeyPatch, rings: list[Ring], same_workers: bool
) -> None:
    setting = Setting(monkeypatch)
    iterator = setting.iterator()
    next(iterator)
    iterator.close()
    busy = setting.crew.hands
    assert any(busy)
    if same_workers:
        make = setting.engine.make

        def take_over(epoch: int, waker: Waker) -> FakeCrew:
            crew = make(epoch, waker)
            crew.hands = busy
            return crew

        setting.engine.make = take_over
    assert received(setting.iterator()) == RECORDS[1:]
    assert len(rings) == (1 if same_workers else 2)


def test_iterators_at_the_same_time_have_rings_of_their_own_of_which_one_is_kept(
    monkeypatch: pytest.MonkeyPatch, rings: list[Ring]
) -> None:
    setting = Setting(monkeypatch)
    for made in (2, 3):
        setting.cursor.at = Position(ORDER, 0, 0)
        one, other = setting.iterator(), setting.iterator()
        assert next(one).tolist() == next(other).tolist() == RECORDS[0]
        one.close()
        other.close()
        for crew in setting.engine.crews:
            crew.finish_what_is_left()
        assert len(rings) == made


@pytest.mark.parametrize("at", ["before", "in the middle", "at the end"])
def test_close_gives_workers_and_ring_back_and_what_was_received_stays(
    monkeypatch: pytest.MonkeyPatch, rings: list[Ring], at: str
) -> None:
    setting = Setting(monkeypatch)
    iterator, kept = setting.iterator(), list[Any]()
    for array in iterator:
        kept.append(array)
        if at == "before" or (at == "in the middle" and len(kept) == 10):
            break
    setting.crew.turn = backwards  # so that there are answers that have to wait for others
    for _ in range(5):
        iterator.start_prefetch()
    iterator.close()
    iterator.close()
    assert setting.crew.state == "left"
    setting.crew.finish_what_is_left()
    assert rings[0].filling == 0
    assert [array.tolist() for array in kept] == RECORDS[: len(kept)]
    assert received(iterator) == []
    assert iterator.get_state()["step"] == len(kept) % 21
    received(setting.iterator())
    assert len(rings) == 1


def test_close_in_the_middle_of_next_is_done_on_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator = setting.iterator()
    found = [next(iterator).tolist() for _ in range(4)]
    setting.delivery.during = iterator.close
    found += received(iterator)
    assert found == RECORDS[: len(found)]
    assert len(found) < 21
    assert iterator.get_state() == {"epoch": 0, "step": len(found)}
    assert setting.crew.state == "left"


def test_close_by_another_thread_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator = setting.iterator()
    found = [next(iterator).tolist()]
    threads: list[threading.Thread] = []

    def slow(crew: FakeCrew) -> list[Any]:
        if not threads:
            threads.append(threading.Thread(target=iterator.close))
            threads[0].start()
        return []  # nothing will ever be done

    setting.crew.turn = slow
    found += received(iterator)
    threads[0].join(20)
    assert found == RECORDS[: len(found)]
    assert len(found) < 21
    assert setting.crew.state == "left"


def test_next_in_the_middle_of_next_is_refused_and_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator, refused = setting.iterator(), list[str]()

    def again() -> None:
        for call in (lambda: next(iterator), iterator.begin):
            try:
                call()
            except RuntimeError as error:
                refused.append(str(error))
        iterator.start_prefetch()

    setting.delivery.during = again
    assert received(iterator) == RECORDS
    assert len(refused) == 2 * 21
    assert all("in the middle of another call" in message for message in refused)


def test_a_state_that_is_taken_in_the_middle_counts_what_the_caller_has_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = Setting(monkeypatch)
    iterator, found, seen = setting.iterator(), list[Any](), list[bool]()
    setting.delivery.during = lambda: seen.append(iterator.get_state()["step"] == len(found))
    for array in iterator:
        found.append(array)
    assert seen == [True] * 21


def test_a_state_that_is_set_ends_what_was_begun_and_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch, shuffled(1))
    iterator = setting.iterator()
    for _ in range(5):
        next(iterator)
    iterator.set_state({"epoch": 0, "step": 17})
    assert [crew.state for crew in setting.engine.crews] == ["left", "at work"]
    assert received(iterator) == RECORDS[17:]
    iterator.set_state({"epoch": 0, "step": 3})
    assert received(iterator) == RECORDS[3:]


def test_an_iterator_that_is_dropped_gives_back_what_it_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator = setting.iterator()
    next(iterator)
    del iterator
    gc.collect()
    assert setting.crew.state == "left"


def test_what_is_left_to_do_at_the_moment_of_handing_over_is_done_then(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator = setting.iterator()
    next(iterator)
    assert len(setting.delivery.taken) > 1
    assert setting.delivery.handed_over == [0]
    received(iterator)
    assert setting.delivery.handed_over == [records[0] for records in RECORDS]


def test_a_closed_iterator_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(monkeypatch)
    iterator: PipelineIterator[Any] = PipelineIterator(
        setting.session, setting.cursor, 2, setting.dump, setting.resume, setting.skips
    )
    iterator.close()
    with pytest.raises(RuntimeError, match="the iterator is closed"):
        iterator.begin()
    assert setting.engine.crews == []
