from __future__ import annotations

import pytest

from datarax_mp.core.patience import Patience
from tests.fakes import FakeClock


@pytest.mark.parametrize("seconds", [0.05, 1.0, 30.0, 3600.0])
def test_time_that_is_waited_in_slices_counts_whole(seconds: float) -> None:
    clock = FakeClock()
    patience = Patience(seconds, clock)
    waited = 0.0
    while not patience.over():
        clock.now += (part := patience.slice())
        waited += part
    assert waited == pytest.approx(seconds)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 30.0, 3600.0])
def test_an_hour_in_which_the_process_was_stopped_hardly_counts(seconds: float) -> None:
    clock = FakeClock()
    patience = Patience(seconds, clock)
    clock.now += 3600
    assert not patience.over()
    assert patience.left() >= 0.75 * seconds


def test_no_time_is_over_at_once() -> None:
    assert Patience(0).over()
    assert Patience(0).slice() == 0
