"""Processes that die: workers, their nursery, and the main process."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline, WorkerError
from datarax_mp.crews.processes.pool import pool
from datarax_mp.ring import Ring
from tests.processes import all_end, kill, nursery, workers


class Deadly:
    """Ends its worker, in some way, the first times that record 30 is read."""

    def __init__(self, how: str, marker: Path, times: int) -> None:
        self.how, self.marker, self.times = how, marker, times

    def __len__(self) -> int:
        return 200

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number == 30 and len(deaths := list(self.marker.parent.glob("death-*"))) < self.times:
            (self.marker.parent / f"death-{len(deaths)}").touch()
            self.die()
        return {"n": number, "x": np.full(50, number)}

    def die(self) -> None:
        if self.how == "exit":
            sys.exit(0)
        elif self.how == "os._exit":
            os._exit(3)
        else:
            os.kill(os.getpid(), getattr(signal, self.how))


HOWS = {"SIGKILL": "SIGKILL", "SIGTERM": "SIGTERM", "exit": "exit code 0", "os._exit": "exit code 3"}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("how", HOWS)
def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(
    how: str, workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Deadly(how, tmp_path / "death", times=1)
    with (
        caplog.at_level(logging.WARNING, "datarax_mp"),
        Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline,
    ):
        numbers = [n for batch in pipeline for n in batch["n"].tolist()]
        assert numbers == list(range(200))
        assert [n for batch in pipeline for n in batch["n"].tolist()] == numbers
    assert len(caplog.messages) == 1
    assert HOWS[how] in caplog.messages[0]
    assert "while it read record 30 (step 7 of epoch 0)" in caplog.messages[0]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_record_that_kills_every_worker_is_an_error(workers: int, tmp_path: Path, rings: list[Ring]) -> None:
    source = Deadly("SIGKILL", tmp_path / "death", times=99)
    with Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline:
        with pytest.raises(
            WorkerError, match=r"SIGKILL\(-9\) while it read record 30 \(step 7 of epoch 0\).*another would too"
        ):
            list(pipeline)
        if workers == 1:  # others may still be at work on their slots
            [ring] = rings
            assert ring.filling == 0  # what the dead had in hand is not lost to the next epoch
    assert len(list(tmp_path.glob("death-*"))) == 2


def test_a_source_that_cannot_be_loaded_without_dying_is_an_error() -> None:
    class Fatal:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, number: int) -> int:
            os._exit(9)

    with (
        Pipeline(source=Fatal(), batch_size=2, num_workers=2, output="numpy") as pipeline,
        pytest.raises(WorkerError, match=r"exit code 9 while it read record 0 .*num_workers=0"),
    ):
        iter(pipeline)


def test_a_worker_killed_while_idle_is_never_noticed_by_the_user() -> None:
    for _ in range(2):
        with Pipeline(source=np.arange(40), batch_size=4, num_workers=2, output="numpy") as pipeline:
            assert sum(batch.batch_size for batch in pipeline) == 40
        kill(workers())


def test_when_the_nursery_is_killed_its_workers_are_gone_and_the_next_epoch_works() -> None:
    with Pipeline(source=np.arange(400), batch_size=2, num_workers=2, output="numpy") as pipeline:
        expected = [batch["value"].tolist() for batch in pipeline]
        orphans = workers()
        kill([nursery()])
        assert all_end(orphans)
        assert [batch["value"].tolist() for batch in pipeline] == expected


def test_without_replacement_every_death_is_an_error(tmp_path: Path) -> None:
    source = Deadly("SIGKILL", tmp_path / "death", times=1)
    with Pipeline(source=source, batch_size=4, num_workers=2, output="numpy", restart_workers=False) as pipeline:
        received = []
        with pytest.raises(WorkerError, match="while it read record 30 .*restart_workers is False"):
            for batch in pipeline:
                received += batch["n"].tolist()
        assert received == list(range(len(received)))
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(200))  # it dies only once


def test_more_than_a_few_deaths_in_a_row_are_an_error(tmp_path: Path) -> None:
    def everywhere(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] >= 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    source = Deadly("SIGKILL", tmp_path / "death", times=0)
    with (
        Pipeline(source=source, batch_size=1, num_workers=4, output="numpy", stages=[everywhere]) as pipeline,
        pytest.raises(WorkerError, match="the second worker to die there|have died in a row"),
    ):
        list(pipeline)


class DeadlyToLoad(Deadly):
    """Ends the first workers that load it."""

    def __enter__(self) -> DeadlyToLoad:
        for death in range(self.times):
            try:
                (self.marker.parent / f"death-{death}").touch(exist_ok=False)
            except FileExistsError:
                continue
            self.die()
        return self

    def __exit__(self, *about: object) -> None:
        pass

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": number}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_each_worker_may_be_killed_while_it_loads_and_one_twice(how: str, workers: int, tmp_path: Path) -> None:
    source = DeadlyToLoad(how, tmp_path / "death", times=workers + 1)
    with Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(200))
    assert len(list(tmp_path.iterdir())) == source.times


@pytest.mark.parametrize(("how", "most"), [("SIGKILL", 6), ("os._exit", 4)])
def test_what_ends_every_worker_that_loads_it_is_an_error(how: str, most: int, tmp_path: Path) -> None:
    source = DeadlyToLoad(how, tmp_path / "death", times=100)
    with (
        Pipeline(source=source, batch_size=4, num_workers=2, output="numpy") as pipeline,
        pytest.raises(WorkerError, match="while it loaded the source and the stages.*another would too"),
    ):
        list(pipeline)
    assert 2 <= len(list(tmp_path.iterdir())) <= most


@pytest.mark.parametrize("moment", ["spawn", "finish"])
def test_a_nursery_that_is_killed_while_it_starts_workers_is_replaced(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datarax_mp.crews.processes.spawner import Spawner

    kills = []
    original = getattr(Spawner, moment)

    def killed(spawner: Spawner, argument: Any) -> Any:
        if not kills:
            kills.append(spawner.process.pid)
            spawner.process.kill()
            spawner.process.wait()
        return original(spawner, argument)

    pool().close()
    monkeypatch.setattr(Spawner, moment, killed)
    with Pipeline(source=np.arange(40), batch_size=4, num_workers=2, output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["value"].tolist()] == list(range(40))
    assert len(kills) == 1


def test_a_worker_whose_channel_is_gone_is_ended_and_replaced(tmp_path: Path) -> None:
    def closes_everything(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 30 and not (tmp_path / "closed").exists():
            (tmp_path / "closed").touch()
            os.closerange(3, 1000)
        return record

    source = Deadly("SIGKILL", tmp_path / "death", times=0)
    with Pipeline(source=source, batch_size=4, num_workers=1, output="numpy", stages=[closes_everything]) as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(200))
