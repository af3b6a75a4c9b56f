"""What workers print comes out where standard output is a pipe, whole lines and the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from datarax_mp import Pipeline

Script = Callable[..., CompletedProcess[str]]

PRINTS = """
import sys
from datarax_mp import Pipeline

def stage(record):
    {act}
    return record

with Pipeline(source=list(range(12)), batch_size=2, stages=[stage], num_workers={workers}, output="numpy") as pipeline:
    for _ in pipeline:
        pass
"""


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def _as_started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


@pytest.mark.usefixtures("_as_started")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_line_that_a_stage_prints_comes_out_as_a_whole(workers: int, run_script: Script) -> None:
    done = run_script(PRINTS.format(act='print("seen", record, "by", "this", "stage")', workers=workers))
    lines = done.stdout.splitlines()
    assert set(lines) == {f"seen {number} by this stage" for number in range(12)}


@pytest.mark.usefixtures("_as_started")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_line_without_an_end_comes_out_with_the_batch(stream: str, run_script: Script) -> None:
    act = f'sys.{stream}.write(f"<{{record}}>")'
    done = run_script(PRINTS.format(act=act, workers=1), check=False)
    assert done.returncode == 0
    assert all(f"<{number}>" in getattr(done, stream) for number in range(12))


class Refuses:
    """Takes what is printed, and no request to write it."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        raise RuntimeError("no")


def none() -> None:
    sys.stdout = None  # type: ignore[assignment]


def closed() -> None:
    sys.stdout = open("/dev/null", "w")  # noqa: SIM115
    sys.stdout.close()


def full() -> None:
    sys.stdout = open("/dev/full", "w")  # noqa: SIM115


def strange() -> None:
    sys.stdout = Refuses()  # type: ignore[assignment]


@pytest.mark.parametrize("put", [none, closed, full, strange])
def test_what_takes_no_output_is_no_trouble_to_a_batch(put: Callable[[], None], recwarn: Any) -> None:
    def stage(record: int) -> int:
        if put is not closed:
            print("seen", record)
        return record

    with Pipeline(
        source=list(range(6)), batch_size=2, stages=[stage], num_workers=1, worker_init=put, output="numpy"
    ) as pipeline:
        assert [int(value) for batch in pipeline for value in batch["value"]] == list(range(6))
    from datarax_mp.crews.processes.pool import pool

    pool().close()  # nobody else is to get that worker
