"""What tests interrupt is what a signal handler can interrupt."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.lines import AtLine, Lines, count

LINES = Lines(in_frame=lambda frame: frame.f_code.co_name.startswith("locks"), spares=lambda line: False)


class Own:
    def __enter__(self) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def gets_in(lock: Any) -> bool:
    """Whether another thread can take the lock."""
    found = list[bool]()
    other = threading.Thread(target=lambda: found.append(lock.acquire(timeout=0)))
    other.start()
    other.join()
    return found[0]


def locks_and_returns(lock: Any) -> list[int]:
    with lock:
        return [1]


def locks_and_calls(lock: Any) -> list[int]:
    with lock:
        return locks_and_returns(lock)


def locks_among_others(lock: Any) -> Any:
    with (
        Own(),
        lock,
        Own() as own,
    ):
        return own


def locks_in_a_loop(lock: Any) -> None:
    for turn in range(3):
        with lock:
            if turn == 1:
                continue
            locks_and_returns(lock)


def locks_at_last(lock: Any) -> None:
    try:
        with lock:
            return
    finally:
        with lock:
            locks_and_returns(lock)


@pytest.mark.parametrize(
    "use", [locks_and_returns, locks_and_calls, locks_among_others, locks_in_a_loop, locks_at_last]
)
def test_no_line_is_interrupted_at_which_a_lock_would_stay_taken(use: Callable[[Any], object]) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    total = count(lambda: use(threading.RLock()), LINES)
    for line in range(1, total + 1):
        lock = threading.RLock()
        with pytest.raises(KeyboardInterrupt), AtLine(line, fail, LINES):
            use(lock)
        assert gets_in(lock), f"line {line}, {sys.version}"
