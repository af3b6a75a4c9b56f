"""Which block is read when, and what lies ready: without a crew, a source or a process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from datarax_mp.core.errors import RemoteError
from datarax_mp.crews.base import Shelving
from datarax_mp.feed.shelf import Shelf
from datarax_mp.order.readings import Needed
from datarax_mp.recipe.work import Failed, Shelved, Written


def windows(*spans: tuple[int, int], blocks: int = 4, epoch: int = 0) -> Iterator[Needed]:
    """Windows of four blocks each, numbered through, which these steps need."""
    for place, (first, last) in enumerate(spans):
        yield Needed(epoch, first, last, np.arange(place * blocks, (place + 1) * blocks))


def make(*spans: tuple[int, int], budget: int | None = None, ahead: bool = True) -> Shelf:
    return Shelf(windows(*spans), most=2, budget=budget, ahead=ahead)


def read(shelf: Shelf, job: Shelving | None, nbytes: int = 10) -> int:
    assert job is not None
    shelf.came(job, Shelved(0.0, nbytes, f"content of {job.reading.block}"))
    return job.reading.block


def all_due(shelf: Shelf, step: int) -> list[int]:
    found = []
    while (job := shelf.due((0, step))) is not None:
        found.append(read(shelf, job))
    return found


def test_a_step_waits_for_all_blocks_of_its_windows_and_gets_those() -> None:
    shelf = make((0, 9), (9, 20), ahead=False)
    jobs = [shelf.due((0, 0)) for _ in range(4)]
    assert shelf.due((0, 0)) is None
    for job in jobs[:3]:
        read(shelf, job)
        assert shelf.ready((0, 0), 5) == (0, {})
    assert shelf.waiting() is jobs[3]
    read(shelf, jobs[3])
    assert shelf.waiting() is None
    steps, there = shelf.ready((0, 0), 5)
    assert steps == 5
    assert {number: block.content for number, block in there.items()} == {n: f"content of {n}" for n in range(4)}


def test_steps_are_ready_up_to_the_next_window_and_at_the_border_both_are_needed() -> None:
    shelf = make((0, 9), (9, 20), ahead=False)
    all_due(shelf, 0)
    assert shelf.ready((0, 6), 64)[0] == 3
    assert all_due(shelf, 9) == [4, 5, 6, 7]
    steps, there = shelf.ready((0, 9), 64)
    assert (steps, sorted(there)) == (64, list(range(8)))
    shelf.passed((0, 10))
    assert sorted(shelf.ready((0, 10), 2)[1]) == [4, 5, 6, 7]


def test_the_next_window_is_read_evenly_while_this_one_is_worked_on() -> None:
    shelf = make((0, 79), (80, 90), (91, 99))
    assert all_due(shelf, 0) == [0, 1, 2, 3, 4]
    assert all_due(shelf, 10) == []
    assert all_due(shelf, 20) == [5]
    assert all_due(shelf, 60) == [6, 7]
    assert all_due(shelf, 80) == []  # the third window comes when the first one is over
    shelf.passed((0, 80))
    assert all_due(shelf, 80) == [8]


def test_no_step_of_a_third_window_is_handed_out_before_the_first_is_over_unless_it_needs_all() -> None:
    shelf = make((0, 1), (2, 3), (4, 5), (5, 5), (5, 9))
    assert all_due(shelf, 3) == list(range(8))
    assert all_due(shelf, 4) == []
    assert shelf.ready((0, 4), 1) == (0, {})
    shelf.passed((0, 4))
    assert all_due(shelf, 4) == list(range(8, 12)) + list(range(12, 16))
    shelf.passed((0, 5))
    assert all_due(shelf, 5) == list(range(16, 20))
    assert len(shelf.ready((0, 5), 1)[1]) == 12


def test_an_idle_worker_reads_the_next_window_and_no_further() -> None:
    shelf = make((0, 79), (80, 90), (91, 99))
    all_due(shelf, 0)
    spare = []
    while (job := shelf.spare()) is not None:
        spare.append(read(shelf, job))
    assert spare == [5, 6, 7]


def test_the_next_epochs_first_window_follows_this_ones_last() -> None:
    both = [*windows((0, 5)), *(needed._replace(epoch=1) for needed in windows((0, 5), (6, 9)))]
    shelf = Shelf(iter(both), most=2, budget=None, ahead=True)
    assert all_due(shelf, 0) == [0, 1, 2, 3, 0, 1, 2, 3]
    assert shelf.due((0, 5)) is None
    assert shelf.ready((1, 0), 9)[0] == 6


def test_nothing_is_read_ahead_beyond_the_budget() -> None:
    shelf = make((0, 9), (10, 20), budget=55)
    assert all_due(shelf, 0) == [0, 1, 2, 3, 4]
    assert all_due(shelf, 9) == []
    assert shelf.spare() is None
    shelf.passed((0, 10))
    assert all_due(shelf, 10) == [5, 6, 7]


def test_a_window_above_the_budget_is_an_error_that_says_what_it_takes() -> None:
    shelf = make((0, 9), budget=25)
    read(shelf, shelf.due((0, 0)))
    read(shelf, shelf.due((0, 0)))
    with pytest.raises(
        ValueError, match=r"leaves 0\.0 kB for blocks.*4 blocks of a window take about 0\.0 kB.*blocks=n"
    ):
        read(shelf, shelf.due((0, 0)))


def test_a_block_that_cannot_be_read_holds_nobody_up() -> None:
    shelf = make((0, 9), ahead=False)
    for _ in range(3):
        read(shelf, shelf.due((0, 0)))
    job = shelf.due((0, 0))
    assert job is not None
    shelf.came(job, Failed(RemoteError.of(OSError("torn")), Written.nothing()))
    steps, there = shelf.ready((0, 0), 4)
    assert (steps, sorted(there)) == (4, [0, 1, 2])


def test_what_comes_after_the_end_is_nobodys() -> None:
    shelf = make((0, 9), (10, 20))
    job = shelf.due((0, 0))
    shelf.close()
    read(shelf, job)
    assert shelf.due((0, 0)) is None
    assert shelf.waiting() is None


def test_a_block_is_asked_for_with_those_that_come_next() -> None:
    shelf = make((0, 9), (9, 20))
    job = shelf.due((0, 0))
    assert job is not None
    assert (job.reading.block, job.coming) == (0, (1, 2, 3, 4))
    for _ in range(3):
        job = shelf.due((0, 0))
    assert job is not None
    assert (job.reading.block, job.coming) == (3, (4, 5, 6, 7))
