from __future__ import annotations

from typing import Any

import numpy as np
import psutil

from datarax_mp import Pipeline
from datarax_mp.testing import assert_same_stream, kill_workers

DATA = {"x": np.arange(60)}


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_workers_that_are_killed_are_dead_and_the_stream_goes_on() -> None:
    with (
        Pipeline(source=DATA, batch_size=2, output="numpy") as expected,
        Pipeline(source=DATA, batch_size=2, num_workers=2, output="numpy") as pipeline,
    ):
        killed: list[Any] = []

        def with_deaths() -> Any:
            for step, batch in enumerate(pipeline):
                if step in (3, 9):
                    killed.append(kill_workers() if step == 3 else kill_workers(1))
                    assert not any(map(lives, killed[-1]))
                yield batch

        assert_same_stream(expected, with_deaths())
    assert len(killed[0]) >= 2
    assert len(killed[1]) == 1
    assert not set(killed[0]) & set(killed[1])
    kill_workers()
    assert kill_workers() == []
