"""When a second run is handed to a worker that is still at its first."""

from __future__ import annotations

from datarax_mp.feed.depth import SLOW_SECONDS, Depth

SLOW = 10 * SLOW_SECONDS


def caller(depth: Depth, away: float, times: int = 50) -> None:
    """Somebody takes that many runs, and is away for so long after each."""
    for _ in range(times):
        depth.left(1000.0)
        depth.came(1000.0 + away)


def test_a_worker_has_two_runs_at_first() -> None:
    assert Depth(now=5.0).runs == 2


def test_quick_runs_wait_two_deep_even_for_a_caller_who_is_back_at_once() -> None:
    depth = Depth(now=0.0)
    depth.took(SLOW_SECONDS)
    caller(depth, away=0.0)
    assert depth.runs == 2


def test_slow_runs_do_not_wait_behind_each_other_for_a_caller_who_is_back_at_once() -> None:
    depth = Depth(now=0.0)
    depth.took(SLOW)
    caller(depth, away=SLOW / 11)
    assert depth.runs == 1


def test_slow_runs_wait_two_deep_while_the_caller_is_away_for_long() -> None:
    depth = Depth(now=0.0)
    depth.took(SLOW)
    caller(depth, away=SLOW / 9)
    assert depth.runs == 2


def test_one_long_absence_is_forgotten() -> None:
    depth = Depth(now=0.0)
    depth.took(SLOW)
    caller(depth, away=30.0, times=1)  # the step is being compiled
    assert depth.runs == 2
    caller(depth, away=0.0)
    assert depth.runs == 1


def test_the_newest_run_decides() -> None:
    depth = Depth(now=0.0)
    depth.took(SLOW)
    depth.took(0.001)
    assert depth.runs == 2
