"""Whose an exception is: what tells the user's code from whoever comes in between."""

from __future__ import annotations

import functools
import pickle
import signal
from typing import Any

import numpy as np
import pytest

from datarax_mp.core.strays import claim, claimed, is_chance, is_from_handler, is_interruption, is_stray


def raised(call: Any) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError


def comes_in_between() -> None:
    raise TimeoutError


def test_what_nobody_has_claimed_is_a_stray_whatever_its_kind() -> None:
    error = raised(comes_in_between)
    assert is_stray(error)
    claim(error, "while reading record 3")
    assert not is_stray(error)
    assert error.__notes__ == ["while reading record 3"]
    assert claimed(error)
    assert not claimed(error)  # asked once
    assert vars(error) == {"__notes__": ["while reading record 3"]}


def test_what_numpy_raises_over_a_record_is_no_stray() -> None:
    assert not is_stray(raised(lambda: np.stack([np.zeros(1), np.zeros(2)])))


def test_an_exception_that_lets_nobody_set_attributes_can_be_claimed() -> None:
    class Frozen(Exception):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError

    error = Frozen()
    claim(error, "a note")
    assert claimed(error)


def test_what_fails_again_is_no_chance_and_what_works_now_is() -> None:
    try:
        pickle.dumps(lambda: None)
    except Exception:
        assert not is_chance(lambda: pickle.dumps(lambda: None))
    try:
        comes_in_between()
    except TimeoutError:
        assert is_chance(lambda: pickle.dumps(1))


def test_a_signal_handler_is_known_by_its_frame() -> None:
    def handler(*_: Any) -> None:
        raise ValueError("time is over")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(ValueError, match="time is over"):
            try:
                signal.raise_signal(signal.SIGUSR1)
            except ValueError:
                assert is_from_handler()
                assert is_chance(comes_in_between)  # although that fails, too
                raise
    finally:
        signal.signal(signal.SIGUSR1, before)
    try:
        comes_in_between()
    except TimeoutError:
        assert not is_from_handler()


class Handler:
    """An object that can be called."""

    def __call__(self, *_: Any) -> None:
        raise TimeoutError

    def method(self, *_: Any) -> None:
        comes_in_between()


@pytest.mark.parametrize(
    "handler",
    [Handler(), Handler().method, functools.partial(Handler().method, 1), lambda *_: comes_in_between()],
    ids=["object", "method", "partial", "function"],
)
def test_what_a_signal_handler_raises_in_the_middle_of_the_users_code_is_not_claimed(handler: Any) -> None:
    def stage() -> None:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        error = raised(stage)
        claim(error, "while the stage was at work")
        assert is_interruption(error)
        assert is_stray(error)
        assert not claimed(error)
        assert not hasattr(error, "__notes__")
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_time_limit_that_a_stage_sets_for_itself_is_that_stages() -> None:
    def stage() -> None:
        before = signal.signal(signal.SIGUSR1, Handler())
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)

    error = raised(stage)
    claim(error)
    assert claimed(error)
