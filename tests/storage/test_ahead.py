"""What is brought ahead: there when it is needed, and what went wrong with it is raised then, once."""

from __future__ import annotations

import threading

import pytest

from datarax_mp.storage.ahead import ReadAhead


def test_whoever_needs_it_waits_for_it_and_nobody_brings_it_twice() -> None:
    ahead, go, brought = ReadAhead[int](most=2), threading.Event(), list[int]()

    def bring() -> int:
        go.wait(60)
        brought.append(1)
        return 7

    ahead.begin("a", bring)
    ahead.begin("a", bring)
    go.set()
    assert ahead.finish("a") == 7
    assert ahead.finish("a") is None
    assert brought == [1]


def test_what_goes_wrong_is_raised_when_it_is_needed_and_only_then() -> None:
    ahead = ReadAhead[None](most=2)

    def bring() -> None:
        raise OSError("it is gone")

    ahead.begin("a", bring)
    assert ahead.finish("b") is None
    with pytest.raises(OSError, match="it is gone"):
        ahead.finish("a")
    assert ahead.finish("a") is None


def test_no_more_are_brought_at_a_time_than_was_said() -> None:
    ahead, go, begun = ReadAhead[int](most=2), threading.Event(), list[int]()

    def bring(number: int) -> int:
        begun.append(number)
        go.wait(60)
        return number

    for number in range(3):
        ahead.begin(number, lambda number=number: bring(number))
    go.set()
    assert [ahead.finish(number) for number in range(3)] == [0, 1, None]
    assert sorted(begun) == [0, 1]
    ahead.begin(2, lambda: bring(2))
    assert ahead.finish(2) == 2


def test_one_that_is_over_and_nobody_needed_makes_room() -> None:
    ahead, over = ReadAhead[int](most=1), threading.Event()
    ahead.begin("a", lambda: 1)
    for thread in threading.enumerate():
        if thread.name == "datarax_mp reads ahead":
            thread.join()
    ahead.begin("b", lambda: over.set() or 2)
    assert over.wait(60)
    assert ahead.finish("a") is None
    assert ahead.finish("b") == 2
