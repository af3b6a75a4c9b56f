"""A debugger or a question in a worker says where it would work."""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from typing import Any

import pytest

from datarax_mp import Pipeline


def stops(record: Any) -> Any:
    breakpoint()
    return record


def debugs(record: Any) -> Any:
    pdb.set_trace()
    return record


def asks(record: Any) -> Any:
    return {"x": input("which? ")}


def reads(record: Any) -> Any:
    return {"x": len(sys.stdin.read())}


def iterates(record: Any) -> Any:
    return {"x": len(list(sys.stdin))}


@pytest.mark.parametrize("stage", [stops, debugs, asks, reads, iterates])
def test_what_needs_a_terminal_says_num_workers_0(stage: Callable[[Any], Any]) -> None:
    with (
        Pipeline(source={"x": [1, 2]}, batch_size=2, stages=[stage], num_workers=1, output="numpy") as pipeline,
        pytest.raises(RuntimeError, match=r"needs a terminal, which a worker .* num_workers=0"),
    ):
        list(pipeline)


def test_a_debugger_that_needs_none_and_breakpoints_that_are_switched_off_are_left_alone(
    run_script: Callable[..., Any],
) -> None:
    run_script(
        "import os\nos.environ['PYTHONBREAKPOINT'] = '0'\n"
        "from datarax_mp import Pipeline\n"
        "def stage(record):\n    breakpoint()\n    return record\n"
        "assert len(list(Pipeline(source=[1, 2], batch_size=1, stages=[stage], num_workers=1, output='numpy'))) == 2\n"
    )
