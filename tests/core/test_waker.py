"""Wakers: any thread may use one, and its descriptors are used again."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from datarax_mp.core.descriptors import readable
from datarax_mp.core.waker import Waker


def is_readable(waker: Waker) -> bool:
    return bool(readable([waker.fileno()], 0))


def test_it_is_readable_once_it_is_woken() -> None:
    waker = Waker()
    assert not is_readable(waker)
    waker.wake()
    waker.wake()
    assert waker.woken
    assert is_readable(waker)
    waker.close()
    waker.wake()  # does nothing any more
    waker.close()
    assert waker.fileno() == -1


def test_the_next_one_has_its_descriptors_and_sleeps() -> None:
    first = Waker()
    descriptor = first.fileno()
    for number in range(3):
        for _ in range(number):
            first.wake()
        first.close()
        first = Waker()
        assert first.fileno() == descriptor
        assert not first.woken
        assert not is_readable(first)
    second = Waker()
    assert second.fileno() != descriptor
    first.wake()
    assert not is_readable(second)


def test_one_that_has_been_closed_is_out_of_reach_for_who_wakes_it() -> None:
    first = Waker()
    first.close()
    second = Waker()
    first.wake()
    assert not is_readable(second)


def test_descriptors_that_others_have_closed_are_not_used_again() -> None:
    waker = Waker()
    descriptor = waker.fileno()
    other = os.open(os.devnull, os.O_RDONLY)
    theirs = os.dup2(other, descriptor)  # closes it at once; between a close and an open another thread may come in
    os.close(other)
    waker.close()
    assert Waker().fileno() != theirs
    os.close(theirs)  # which is still open


def test_a_forked_process_makes_its_own(run_script: Callable[..., Any]) -> None:
    run_script(
        """
import os
from datarax_mp.core.descriptors import readable
from datarax_mp.core.waker import Waker

Waker().close()
if (child := os.fork()) == 0:
    waker = Waker()
    waker.wake()
    os._exit(not waker.woken)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
waker = Waker()
assert not readable([waker.fileno()], 0)
"""
    )
