"""Lanes whose iterators have states that fill a socket: main and worker never wait for one another."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Script = Callable[..., CompletedProcess[str]]

SOURCE = """
import os, signal, threading
from datarax_mp import IterableSource, Pipeline, WorkerTimeoutError

SIZE, LENGTH = 1 << 20, 60

class Numbers:
    def __init__(self, lane, lanes):
        self.number, self.lanes = lane, lanes
    def __iter__(self):
        return self
    def __next__(self):
        if self.number >= LENGTH:
            raise StopIteration
        number, self.number = self.number, self.number + self.lanes
        return {"x": number}
    def state_dict(self):
        return {"number": self.number, "more": "x" * SIZE}
    def load_state_dict(self, state):
        assert len(state["more"]) == SIZE
        self.number = state["number"]

def make(workers, **options):
    source = IterableSource(Numbers, lanes=6)
    return Pipeline(source=source, batch_size=1, num_workers=workers, output="numpy", **options)

def numbers(batches):
    return [int(batch["x"][0]) for batch in batches]
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_stream_is_the_same_also_where_an_epoch_is_left_and_a_worker_dies(workers: int, run_script: Script) -> None:
    done = run_script(
        SOURCE
        + f"""
def stage(record):
    if record["x"] == 33 and not os.path.exists("dead"):
        open("dead", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return record

with make({workers}, stages=[stage]) as pipeline:
    epoch = iter(pipeline)
    assert [numbers([next(epoch)]) for _ in range(8)] == [[number] for number in range(8)]
    state = epoch.get_state()
    del epoch
    assert numbers(pipeline) == list(range(LENGTH))
    pipeline.set_state(state)
    assert numbers(pipeline) == list(range(8, LENGTH))
assert os.path.exists("dead")
""",
        check=False,  # the death is told
    )
    assert done.returncode == 0, done.stderr


def test_a_worker_that_takes_too_long_is_an_error_while_more_is_to_be_sent_to_it(run_script: Script) -> None:
    done = run_script(
        SOURCE
        + """
def stage(record):
    if record["x"] == 7:
        threading.Event().wait()
    return record

with make(1, stages=[stage], timeout=3.0) as pipeline:
    try:
        numbers(pipeline)
    except WorkerTimeoutError as error:
        print(error)
"""
    )
    assert "no batch came within 3 s" in done.stdout and "was ended" in done.stdout
