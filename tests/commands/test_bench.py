"""``python -m datarax_mp bench``: how fast a user's source or pipeline goes, and which setting to choose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datarax_mp.commands import main
from datarax_mp.commands.benching.measured import Measured, Setting
from datarax_mp.commands.benching.tried import counts, measure_all
from datarax_mp.commands.benching.verdict import bound, chosen
from datarax_mp.core.cores import usable_cores
from datarax_mp.crews.choose import Workers
from datarax_mp.monitoring.stats import Stats, Times

TRAIN = """
import time
import numpy as np
from datarax_mp import Pipeline

def waits(record):
    time.sleep(0.002)
    return {"x": record}

def draws(record):
    return {"x": np.random.rand()}

def made(stage):
    return Pipeline(source=np.arange(40), batch_size=4, stages=[stage], output="numpy", num_workers=1)

pipeline = made(waits)

def drawing():
    return made(draws)

class Squares:
    def __len__(self):
        return 30

    def __getitem__(self, number):
        return {"square": number**2}

broken = Squares()
broken.__class__ = type("Broken", (Squares,), {"__getitem__": lambda self, number: 1 / 0})
number = 7
"""


@pytest.fixture(autouse=True)
def _module(user_module: Callable[[str, str], None]) -> None:
    user_module("benched", TRAIN)


def bench(capsys: pytest.CaptureFixture[str], target: str, *words: str) -> dict[str, Any]:
    assert main(["bench", target, "--seconds", "0.2", "--json", *words]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_every_setting_is_measured_and_one_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    told = bench(capsys, "benched:pipeline", "--workers", "2", "1", "--threads", "2", "--step-ms", "0.1")
    tried = [(one["num_workers"], one["workers"]) for one in told["settings"]]
    assert tried == [(0, "processes"), (1, "processes"), (2, "processes"), (2, "threads")]
    for one in told["settings"]:
        assert one["error"] is None
        assert len(one["visits"]) == len(one["first_batch_seconds"]) == 2
        assert 0 < one["records_per_second"] == max(one["visits"])
    assert (told["chosen"]["num_workers"], told["chosen"]["workers"]) in tried
    assert told["step_seconds"] == 0.0001


def test_a_source_is_put_into_a_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "benched:Squares", "--seconds", "0.1", "--workers", "1", "--threads"]) == 0
    said = capsys.readouterr().out
    assert "Pipeline(Squares, 30 records, batch_size=32" in said
    assert [line.split("  ")[0] for line in said.splitlines() if "%" in line][:2] == ["none", "1 process"]
    assert "Choose num_workers=" in said


def test_a_setting_that_cannot_be_had_is_told_and_the_others_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    told = bench(capsys, "benched:drawing", "--workers", "--threads", "1", "2")
    assert len(told["settings"]) == 2  # with two threads it would be the same
    alone, threads = told["settings"]
    assert alone["error"] is None
    assert "draws from a global random generator" in threads["error"]
    assert told["chosen"]["num_workers"] == 0


def test_what_the_source_raises_comes_out_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        main(["bench", "benched:broken", "--seconds", "0.1"])


def test_a_plot_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bench(capsys, "benched:pipeline", "--workers", "1", "--threads", "1", "--step-ms", "1", "--plot", "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["benched:number"], "must be a Pipeline, a source, or a function"),
        (["benched:missing"], "no attribute 'missing'"),
        (["benched:pipeline", "--seconds", "0"], "--seconds"),
        (["benched:pipeline", "--workers", "-1"], "--workers"),
        (["benched:pipeline", "--seconds", "0.01", "--workers", "--threads", "--plot", "no/folder.png"], "cannot be"),
    ],
)
def test_what_the_user_has_to_put_right_is_told_in_one_line(
    words: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    said = capsys.readouterr().err
    assert wrong in said
    assert said.count("\n") == 1


def measured(number: int, rate: float, *, workers: Workers = "processes", **stats: Any) -> Measured:
    looked = Times(10, 1.0, 0.1, 0.1, 0.1)
    usual: dict[str, Any] = {"cores": 4, "workers": number, "made": looked, "own_cores": 0.1, "computing": 1.0}
    usual |= {"looked": looked, "parts": {"read": Times(10, 0.8, 0.08, 0.08, 0.08)}}
    usual |= {"waited": Times(10, 1.0 / max(number, 1), 0.1, 0.1, 0.1)}
    return Measured(Setting(number, workers), [rate, 0.9 * rate], [0.1], Stats(**usual | stats))


def test_the_least_that_is_nearly_the_best_is_chosen() -> None:
    none, one, two, three = (measured(number, rate) for number, rate in ((0, 10), (1, 60), (2, 98), (4, 100)))
    assert chosen([none, one, two, three]) is two
    threads = measured(2, 99, workers="threads")
    assert chosen([none, one, two, three, threads]) is threads
    threads.error = "refused"
    assert chosen([none, one, two, three, threads]) is two


@pytest.mark.parametrize(
    ("one", "others", "why"),
    [
        (measured(0, 10), [], "the one thread that does everything; reading is 80%"),
        (measured(2, 10), [], "the number of workers, who are all busy"),
        (measured(2, 10), [measured(4, 10)], "more of them bring nothing"),
        (measured(4, 10), [], "the 4 cores, which are busy"),
        (measured(2, 10, starving=0.3), [], "the 4 cores, which are busy"),
        (measured(2, 10, computing=0.1), [], "what workers wait for, a disk or a network perhaps, 90% of their time"),
        (measured(2, 10, own_cores=1.0, made=Times(10, 0.1, 0, 0, 0)), [], "the main process"),
        (measured(2, 10, made=Times(10, 0.1, 0, 0, 0)), [], "the way between workers and main"),
    ],
)
def test_what_bounds_it_is_said(one: Measured, others: list[Measured], why: str) -> None:
    assert why in bound(one, 0.0, [one, *others])


def test_a_loader_that_keeps_up_is_bound_by_the_step() -> None:
    one = measured(2, 10, away=Times(10, 20.0, 2, 2, 2))
    assert bound(one, 2.0, [one]).startswith("your step of 2 s a batch")


def test_more_workers_than_cores_are_tried_as_long_as_that_helps_those_who_wait() -> None:
    def waiting(setting: Setting) -> Measured:
        return measured(setting.num_workers, min(setting.num_workers, 4 * usable_cores()), computing=0.1)

    cores = usable_cores()
    assert counts(6) == [1, 2, 4, 6]
    found = [one.setting.num_workers for one in measure_all(None, [], waiting)]
    assert found == [0, *counts(cores), *(number for number in (2 * cores, 4 * cores, 8 * cores) if number <= 64)]
    found = [one.setting.num_workers for one in measure_all(None, [], lambda setting: measured(setting.num_workers, 1))]
    assert found == [0, *counts(cores)]
