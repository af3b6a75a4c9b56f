"""Slots that the user keeps never stop the workers, and a finished run becomes batches that never change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.feed.lending import Failure, Lending
from datarax_mp.feed.timings import Timings
from datarax_mp.feed.window import Finished
from datarax_mp.order import Order, Sequential
from datarax_mp.recipe.work import Done, Failed, Run, Skip, Written
from datarax_mp.ring import Ring
from tests.fakes import Raised, layout

ORDER = Order(Sequential(22), batch_size=4)  # 6 steps, of which the last has two rows
BLOCK = layout(4).block_bytes


def make_ring(slots: int = 4) -> Ring:
    return Ring(slots, 8 * BLOCK, shared=False)


def lending(ring: Ring, *, most: int = 2, padded: bool = False, batch_size: int = 4) -> Lending:
    return Lending(ring, layout(batch_size), ORDER, most=most, padded=padded, timings=Timings())


def finish(
    ring: Ring, step: int, steps: int, *, error: BaseException | None = None, skips: dict[int, int] | None = None
) -> Finished:
    """A run that somebody has done; of the places in ``skips`` one row each is left out."""
    slot = ring.acquire()
    assert slot is not None
    written = Written([None] * steps, {}, {})
    for place in range(steps):
        records = ORDER.records(0, step + place)
        if row := (skips or {}).get(place):
            written.skips[place] = (Skip(int(records[row]), row, "no good"),)
            records = np.delete(records, row)
        start = slot * ring.slot_bytes + place * BLOCK
        np.ndarray(len(records), np.int64, ring.memory, start)[:] = records
    run = Run(0, step, steps + (error is not None), slot)
    return Finished(run, Done(0.001, written) if error is None else Failed(Raised(error), written))


def values(batch: Any) -> list[int]:
    assert isinstance(batch, HostBatch)
    [array] = batch.arrays()
    return array.tolist()


def test_the_batches_of_a_run_come_one_by_one_with_their_steps_and_rows() -> None:
    ring = make_ring()
    batches = list(lending(ring).batches(finish(ring, 3, 3)))
    assert [(batch.step, batch.rows, values(batch)) for batch in batches if isinstance(batch, HostBatch)] == [
        (3, 4, [12, 13, 14, 15]),
        (4, 4, [16, 17, 18, 19]),
        (5, 2, [20, 21]),
    ]


def test_arrays_look_into_the_slot_and_hold_it_until_the_last_of_them_dies() -> None:
    ring = make_ring()
    run = finish(ring, 0, 2)
    first, second = lending(ring).batches(run)
    assert isinstance(first, HostBatch) and isinstance(second, HostBatch)
    [array] = second.arrays()
    np.ndarray(4, np.int64, ring.memory, run.run.slot * ring.slot_bytes + BLOCK)[:] = 7
    assert array.tolist() == [7] * 4
    del first, second
    assert ring.leased == 1
    del array
    assert ring.leased == 0
    assert ring.filling == 0


def test_a_run_that_is_being_delivered_holds_its_slot_although_nobody_holds_a_batch() -> None:
    ring = make_ring()
    batches = lending(ring).batches(finish(ring, 0, 2))
    next(batches)
    assert ring.leased == 1
    next(batches)
    batches.close()
    assert ring.leased == 0


def test_beyond_what_may_be_lent_batches_are_copies_and_their_slot_is_free_at_once() -> None:
    ring, kept = make_ring(slots=3), list[Any]()
    lends = lending(ring, most=2)
    for step in range(6):
        assert lends.lends() == (step < 2)
        kept += [batch.arrays() for batch in lends.batches(finish(ring, step, 1)) if isinstance(batch, HostBatch)]
        assert ring.leased == min(step + 1, 2)
    assert [array.tolist() for [array] in kept] == [ORDER.records(0, step).tolist() for step in range(6)]
    del kept[0]
    assert lends.lends()


def test_a_copy_can_be_aliased_by_jax_as_a_slot_can() -> None:
    ring = make_ring()
    [batch] = lending(ring, most=0).batches(finish(ring, 0, 1))
    assert isinstance(batch, HostBatch)
    [array] = batch.arrays()
    assert array.ctypes.data % 64 == 0


def test_a_padded_batch_has_arrays_of_full_size_and_says_how_many_rows_count() -> None:
    ring = make_ring()
    [batch] = lending(ring, padded=True).batches(finish(ring, 5, 1))
    assert isinstance(batch, HostBatch)
    assert (batch.rows, batch.size, len(values(batch))) == (2, 4, 4)
    assert values(batch)[:2] == [20, 21]


def test_skipped_records_are_missing_and_told() -> None:
    ring = make_ring()
    first, second = lending(ring).batches(finish(ring, 1, 2, skips={1: 2}))
    assert values(first) == [4, 5, 6, 7]
    assert values(second) == [8, 9, 11]
    assert isinstance(second, HostBatch)
    assert (second.rows, second.skips) == (3, (Skip(10, 2, "no good"),))


@pytest.mark.parametrize(
    ("step", "steps", "alike"),
    [(0, 4, [4, 3, 2, 1]), (2, 4, [3, 2, 1, 1]), (5, 1, [1])],
)
def test_a_batch_knows_how_many_like_it_lie_behind_it(step: int, steps: int, alike: list[int]) -> None:
    ring = make_ring()
    batches = list(lending(ring).batches(finish(ring, step, steps)))
    assert [batch.alike for batch in batches if isinstance(batch, HostBatch)] == alike


def test_batches_that_differ_are_each_alone() -> None:
    ring = make_ring()
    alone = [
        lending(ring).batches(finish(ring, 0, 3, skips={1: 1})),  # a record is missing
        lending(ring, batch_size=6).batches(finish(ring, 0, 3)),  # there is room for more rows than they have
        lending(ring, most=0).batches(finish(ring, 0, 3)),  # each is copied for itself
    ]
    for batches in alone:
        assert [batch.alike for batch in batches if isinstance(batch, HostBatch)] == [1, 1, 1]


def test_what_was_raised_comes_behind_the_batches_that_were_complete() -> None:
    ring, error = make_ring(), ValueError("no good")
    *before, failure = lending(ring).batches(finish(ring, 1, 2, error=error))
    assert [values(batch) for batch in before] == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert failure == Failure(error)


def test_the_slot_is_free_when_what_was_raised_is_out_whoever_keeps_it() -> None:
    ring = make_ring()
    batches = lending(ring).batches(finish(ring, 0, 1, error=ValueError("no good")))
    next(batches)
    kept = next(batches)
    assert isinstance(kept, Failure)
    assert ring.leased == 0
