"""Work that no signal handler interrupts."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from datarax_mp.core.undisturbed import undisturbed


def test_what_is_returned_and_what_is_raised_are_both_returned() -> None:
    error = OSError("refused")

    def refuses() -> None:
        raise error

    assert undisturbed(lambda: 6 * 7) == 42
    assert undisturbed(refuses) is error


def test_work_is_done_although_the_caller_is_interrupted() -> None:
    done = threading.Event()

    def handler(*_: Any) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        signal.raise_signal(signal.SIGUSR1)  # which Python handles in the main thread
        done.set()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            while True:
                undisturbed(work)
        assert done.wait(10)
    finally:
        signal.signal(signal.SIGUSR1, before)
