"""``python -m datarax_mp top``: what running pipelines do, seen from another process."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from datarax_mp import Pipeline
from datarax_mp.commands import main
from datarax_mp.commands.top_view import picture
from datarax_mp.monitoring.observed import Observed, page_of, pids
from tests.processes import comes_true

PROGRAM = """
import sys, time, numpy as np
from datarax_mp import Pipeline

def stuck(record):
    if record == 9:
        print("stuck", flush=True)
        time.sleep(1000)
    return {"x": np.float32(record)}

for batch in Pipeline(source=np.arange(40), batch_size=4, stages=[stuck], output="numpy", **eval(sys.argv[1])):
    pass
"""


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A program of which a worker is stuck at record 9."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, request.param], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "stuck\n"
            yield process
        finally:
            process.kill()


def observed(pid: int) -> Observed:
    page = page_of(pid)
    assert page is not None
    one = Observed(pid, page)
    one.snapshot()
    return one


def waits(pid: int, stuck: int) -> bool:
    """Whether a program waits for a batch, with so many workers seen at the stage that is stuck."""
    if (page := page_of(pid)) is None:
        return False
    pipelines = Observed(pid, page).snapshot()["pipelines"]
    doing = [[worker["doing"] for worker in one["members"]].count("MapElement(stuck)") for one in pipelines]
    return doing == [stuck] and pipelines[0]["waiting"]


def shown(process: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(picture([process], width, None))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text


@pytest.mark.parametrize("job", ['{"num_workers": 2}'], indirect=True)
def test_a_worker_that_is_stuck_is_seen_at_its_record_also_when_main_is_stopped_or_dead(
    job: subprocess.Popen[str],
) -> None:
    assert comes_true(lambda: waits(job.pid, stuck=1))
    assert job.pid in pids()
    one = observed(job.pid)
    for _ in range(3):
        one.look()
    found = one.snapshot()
    assert found["lives"] and not found["stopped"]
    [pipeline] = found["pipelines"]
    assert (pipeline["batch_size"], pipeline["workers"], pipeline["waiting"]) == (4, "processes", True)
    [at] = [worker for worker in pipeline["members"] if worker["doing"] == "MapElement(stuck)"]
    assert (at["record"], at["shares"]) == (9, {"MapElement(stuck)": 1.0})
    assert at["memory"] > 1e6
    assert json.loads(json.dumps(found)) == found
    assert "main is waiting for a batch" in shown(found) and "2 processes" in shown(found)

    job.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, job.pid, os.WSTOPPED | os.WNOWAIT)
    assert one.snapshot()["stopped"]
    assert "STOPPED" in shown(one.snapshot())

    job.kill()
    job.wait()
    found = one.snapshot()
    assert not found["lives"]
    assert "ENDED" in shown(found)
    assert "MapElement(stuck)" in shown(found, 200)  # what it was at stays
    assert job.pid not in pids()


@pytest.mark.parametrize("job", ['{"num_workers": 0}', '{"num_workers": 1, "workers": "threads"}'], indirect=True)
def test_it_is_seen_without_processes_too(job: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert comes_true(lambda: waits(job.pid, stuck=0))
    assert main(["top", str(job.pid), "--json", "--seconds", "0.1"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    [pipeline] = found["pipelines"]
    assert pipeline["waiting"]
    assert pipeline["batches"] <= 2
    assert all(worker["doing"] is None for worker in pipeline["members"])
    assert str(job.pid) in shown(found)


def test_all_of_this_user_are_shown_once_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = Pipeline(source=np.arange(4), batch_size=4, output="numpy")
    list(pipeline)
    assert main(["top", "--seconds", "0.05"]) == 0
    assert str(os.getpid()) in capsys.readouterr().out


@pytest.mark.parametrize("how", ["closed", "gone"])
def test_a_pipeline_that_is_closed_or_gone_is_not_shown(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    def sizes() -> list[int]:
        assert main(["top", str(os.getpid()), "--json", "--seconds", "0.01"]) == 0
        return [one["batch_size"] for one in json.loads(capsys.readouterr().out)[0]["pipelines"]]

    gc.collect()  # of those that earlier tests have left: so many are shown and no more
    pipeline = Pipeline(source=np.arange(4), batch_size=4321, output="numpy")
    list(pipeline)
    assert 4321 in sizes()
    if how == "closed":
        pipeline.close()
    else:
        del pipeline
        gc.collect()
    assert 4321 not in sizes()


def test_nothing_is_said_in_words() -> None:
    console = Console(file=io.StringIO())
    console.print(picture([], 80, 24))
    assert "No pipeline of this user" in console.file.getvalue()  # type: ignore[attr-defined]


def test_who_cannot_be_looked_at_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", str(1 << 22)]) == 2
    assert f"there is no process {1 << 22}" in capsys.readouterr().err
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert main(["top", str(other.pid)]) == 2
        assert "has no pipeline that has been iterated" in capsys.readouterr().err
        other.kill()


FORKS = """
import os, numpy as np
from datarax_mp import Pipeline
list(Pipeline(source=np.arange(4), batch_size=4, output="numpy"))
child = os.fork()
if child:
    print(child, flush=True)
input()
"""


def test_a_forked_process_is_not_taken_for_the_one_that_made_the_page() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert page_of(process.pid) is not None
            assert page_of(child) is None
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)
