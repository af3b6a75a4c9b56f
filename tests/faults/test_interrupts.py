"""Ctrl-C at every line: whatever the line, one KeyboardInterrupt, nothing left, and the pipeline can be iterated again.

A trace function raises the interrupt at the n-th line that main runs in the package, for n over the whole of an epoch's
begin, middle, end and close. That finds in seconds what a signal would hit once in months.
"""

from __future__ import annotations

import gc
import linecache
import os
import sys
import threading
import weakref
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import psutil
import pytest

import datarax_mp
from datarax_mp import Pipeline
from datarax_mp.workers.pool import pool

PACKAGE = str(Path(datarax_mp.__file__).parent)


def is_spared(frame: FrameType | None) -> bool:
    """Where Python itself drops an exception, and prints "Exception ignored" whatever we do."""
    while frame is not None and frame.f_code.co_filename != __file__:
        code = frame.f_code
        if code.co_name in ("__del__", "<lambda>") or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def lets_no_signal_in(frame: FrameType) -> bool:
    """Lines where a trace function can raise and a signal handler cannot: that runs at calls and jumps only."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return line == "try:" or line.endswith("_lock:")


class InterruptAt:
    """Raise KeyboardInterrupt at the n-th line that this thread runs in the package."""

    def __init__(self, line: int) -> None:
        self.left = line
        self.where = ""

    def __enter__(self) -> InterruptAt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or is_spared(frame):
            return None
        if event == "line" and not lets_no_signal_in(frame):
            self.left -= 1
            if self.left == 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


def stage(record: Any) -> Any:
    return {"n": record, "text": f"record {record}"}


def make(workers: int) -> Pipeline:
    return Pipeline(source=np.arange(24), batch_size=2, num_workers=workers, stages=[stage], output="numpy")


def numbers(batches: Any) -> list[int]:
    return [n for batch in batches for n in batch["n"].tolist()]


def begin(pipeline: Pipeline) -> None:
    iter(pipeline)


def whole_epoch(pipeline: Pipeline) -> None:
    numbers(pipeline)


def left_early(pipeline: Pipeline) -> None:
    for batch in pipeline:
        if 8 in batch["n"]:
            break
    numbers(zip(range(0)))


def state_and_resume(pipeline: Pipeline) -> None:
    iterator = iter(pipeline)
    next(iterator)
    pipeline.set_state(pipeline.get_state())
    next(iter(pipeline))


USES = {use.__name__: use for use in (begin, whole_epoch, left_early, state_and_resume)}


def lines_of(use: Any, workers: int) -> int:
    with make(workers) as pipeline, InterruptAt(10**9) as counter:
        use(pipeline)
    return 10**9 - counter.left


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", USES)
def test_an_interrupt_at_any_line_leaves_a_pipeline_that_works(name: str, workers: int) -> None:
    use = USES[name]
    numbers(make(workers))  # whatever is made once is there
    total = lines_of(use, workers)
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    step = max(1, total // int(os.environ.get("LINES", 150)))
    for line in range(1, total, step):
        pipeline = make(workers)
        try:
            with InterruptAt(line) as interrupt:
                use(pipeline)
        except KeyboardInterrupt:
            pass
        try:
            received = numbers(pipeline)
            resumed = name == "state_and_resume" and received == list(range(2, 24))  # the state had been taken over
            assert resumed or received == list(range(24))
            pipeline.close()
        except BaseException as error:
            error.add_note(f"after an interrupt at line {line} of {total}, {interrupt.where}")
            raise
    del pipeline
    gc.collect()
    assert threading.active_count() == 1
    parked = 3 * len(pool()._parked)  # channel, pidfd, stack
    assert len(os.listdir("/proc/self/fd")) <= descriptors + parked + 3
    spawner = pool()._spawner
    if spawner is not None and spawner.alive():
        assert len(psutil.Process(spawner.process.pid).children()) <= len(pool()._parked) + 2
