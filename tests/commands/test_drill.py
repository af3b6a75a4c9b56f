"""``python -m datarax_mp drill``: a pipeline under kills, freezes, resumes and a small /dev/shm."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from datarax_mp.commands import main
from datarax_mp.commands.drilling import reference
from datarax_mp.commands.drilling.elsewhere import small_shm

TRAIN = """
import os, time
import numpy as np
from datarax_mp import Pipeline, RandomMapElement

def draw(record, rng):
    time.sleep(0.0005)
    return {**record, "draw": rng.random()}

def make(stages=(draw,), num_workers=2):
    stages = [RandomMapElement(stage) for stage in stages]
    return Pipeline(source={"x": np.arange(400), "y": np.ones((400, 500))}, batch_size=8, stages=stages, shuffle=True,
                    seed=1, num_workers=num_workers, output="numpy")

def whoever(record, rng):
    return {**record, "pid": os.getpid()}

def bad():
    return make([draw, whoever])

def alone():
    return make(num_workers=0)

def by_process():
    return make([whoever], num_workers=0)

"""


@pytest.fixture(autouse=True)
def _module(user_module: Callable[[str, str], None]) -> None:
    user_module("drilled", TRAIN)


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The undisturbed run comes as far as it may, on however busy a machine, in a drill in this process."""
    real = reference.undisturbed

    def undisturbed(pipeline: Any, *, most: int, seconds: float) -> reference.Reference:
        return real(pipeline, most=most, seconds=60 + seconds)

    monkeypatch.setattr(reference, "undisturbed", undisturbed)


def test_a_good_pipeline_stays_the_same_whatever_happens() -> None:
    command = [sys.executable, "-W", "error", "-m", "datarax_mp", "drill", "drilled:make", "--seconds", "1.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, (done.stdout, done.stderr)
    first, *rounds, elsewhere, last = done.stdout.splitlines()
    assert re.match(r"undisturbed: \d+ batches, (to the end|the first ones), in .*--seed ", first)
    assert sum("a worker was killed" in line for line in rounds) >= 1
    assert "the same" in elsewhere and "fresh process" in elsewhere
    assert (small_shm() is None) == ("1 MB" not in elsewhere)
    assert re.fullmatch(r"The stream is the same: \d+ rounds, and a fresh process\.", last)


@pytest.mark.usefixtures("no_hurry")
def test_a_stream_that_depends_on_who_makes_it_is_found(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="datarax_mp")
    assert main(["drill", "drilled:bad", "--seconds", "1", "--seed", "3"]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("undisturbed: 50 batches, to the end, in ")
    assert re.fullmatch(r"The stream is NOT the same: batch \d+: field 'pid' is another one", last)


@pytest.mark.usefixtures("no_hurry")
def test_without_workers_it_is_taken_up_here_and_in_a_fresh_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "drilled:by_process", "--seconds", "0.1", "--batches", "20"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("undisturbed: 20 batches, the first ones,")
    assert told[2].endswith(": the same") and "taken up there" in told[2]
    assert "a fresh process" in told[-1] and told[-1].endswith("batch 0: field 'pid' is another one")


def test_what_cannot_be_drilled_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "drilled:alone", "--seconds", "0"]) == 2
    assert main(["drill", "drilled:alone", "--batches", "0"]) == 2
    assert "must be greater than 0" in capsys.readouterr().err


def test_without_unshare_there_is_no_small_shm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert small_shm() is None
