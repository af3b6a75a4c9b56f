"""Workers that die while they have lanes: others take these up where they stood."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datarax_mp import IterableSource, Pipeline, ShuffleWindow, WorkerError
from tests.processes import workers

LANES, RECORDS = 5, 60


def counting(lane: int, lanes: int) -> Iterator[dict[str, int]]:
    return ({"n": lane + lanes * place} for place in range(RECORDS - 7 * lane))


class Knowing:
    """Says where it stands."""

    def __init__(self, lane: int, lanes: int) -> None:
        self.lane, self.lanes, self.at = lane, lanes, 0

    def __iter__(self) -> Knowing:
        return self

    def __next__(self) -> dict[str, int]:
        if self.at == RECORDS - 7 * self.lane:
            raise StopIteration
        self.at += 1
        return {"n": self.lane + self.lanes * (self.at - 1)}

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class Deadly:
    """A ``make`` of which one lane's record kills whoever reads it, so many times."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def __call__(self, lane: int, lanes: int) -> Iterator[dict[str, int]]:
        for record in counting(lane, lanes):
            if record["n"] == 2 + 20 * lanes:
                with open(self.folder / "deaths", "a+") as file:
                    file.write("x")
                if os.path.getsize(self.folder / "deaths") <= self.times:
                    os.kill(os.getpid(), signal.SIGKILL)
            yield record


def make(source: Any, **more: Any) -> Pipeline:
    usual: dict[str, Any] = {"batch_size": 4, "output": "numpy", "shuffle": ShuffleWindow(records=6), "seed": 1}
    return Pipeline(source=IterableSource(source, lanes=LANES), **usual | more)


def batches(pipeline: Any) -> list[list[int]]:
    return [batch["n"].tolist() for batch in pipeline]


@pytest.fixture(scope="module")
def expected() -> list[list[int]]:
    with make(counting) as pipeline:
        return batches(pipeline)


@pytest.mark.parametrize("source", [counting, Knowing])
@pytest.mark.parametrize("seed", range(3))
def test_workers_that_are_killed_at_random_change_nothing(source: Any, seed: int, expected: list[list[int]]) -> None:
    draw = random.Random(seed)
    with make(source, num_workers=3) as pipeline:
        iterator, found = iter(pipeline), list[list[int]]()
        for batch in iterator:
            found.append(batch["n"].tolist())
            if draw.random() < 0.1:
                with suppress(ProcessLookupError):  # of the one killed a batch ago
                    os.kill(draw.choice(workers()).pid, signal.SIGKILL)
        assert found == expected


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_lane_whose_worker_dies_over_a_record_is_gone_on_with_by_another(
    num_workers: int, tmp_path: Path, expected: list[list[int]]
) -> None:
    with make(Deadly(tmp_path, 1), num_workers=num_workers) as pipeline:
        assert batches(pipeline) == expected


def test_a_record_of_a_lane_that_kills_two_workers_is_an_error_that_names_it(
    tmp_path: Path, expected: list[list[int]]
) -> None:
    with make(Deadly(tmp_path, 2), num_workers=2) as pipeline:
        iterator, found = iter(pipeline), list[list[int]]()
        with pytest.raises(WorkerError, match="record 20 of lane 2"):
            for batch in iterator:
                found.append(batch["n"].tolist())
        pipeline.set_state(iterator.get_state())
        assert found + batches(pipeline) == expected


def test_a_killed_worker_without_a_restart_is_an_error_and_the_state_goes_on(
    tmp_path: Path, expected: list[list[int]]
) -> None:
    with make(Deadly(tmp_path, 1), num_workers=2, restart_workers=False) as pipeline:
        iterator, found = iter(pipeline), list[list[int]]()
        with pytest.raises(WorkerError, match="restart_workers is False"):
            for batch in iterator:
                found.append(batch["n"].tolist())
        assert 0 < len(found) < len(expected)
        pipeline.set_state(iterator.get_state())
        assert found + batches(pipeline) == expected
