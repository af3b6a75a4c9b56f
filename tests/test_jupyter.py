"""In a real Jupyter kernel: functions of cells as stages, a cell that is interrupted, and the cells after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ipykernel")
client = pytest.importorskip("jupyter_client")

SECONDS = 60.0  # the net

SETUP = """
import numpy as np
from datarax_mp import Pipeline

def slow(record):
    import time
    time.sleep(0.001)
    return {"n": record}

pipeline = Pipeline(source=np.arange(100_000), batch_size=10, stages=[slow], num_workers=2, output="numpy")
received = []
"""

LOOP = """
for batch in pipeline:
    received += batch["n"].tolist()
    if len(received) == 50:
        print("under way", flush=True)
"""

AFTER = """
assert received == list(range(len(received))), received[:100]
state = pipeline.get_state()
assert state["step"] * 10 == len(received), (state["step"], len(received))
pipeline.set_state(state)
iterator = iter(pipeline)
for _ in range(5):
    received += next(iterator)["n"].tolist()
assert received == list(range(len(received)))

def slow(record):
    return {"n": -record}

with Pipeline(source=np.arange(20), batch_size=10, stages=[slow], num_workers=2, output="numpy") as other:
    assert [n for batch in other for n in batch["n"].tolist()] == [-n for n in range(20)]
pipeline.close()
print("right")
"""


class Kernel:
    """A kernel, and what its cells print."""

    def __init__(self) -> None:
        self.manager, self.client = client.manager.start_new_kernel(kernel_name="python3", startup_timeout=SECONDS)

    def begin(self, cell: str) -> None:
        self.client.execute(cell)

    def outcome(self, *, until: str | None = None) -> str:
        """What is printed, or the name of what is raised, up to the cell's end or until something is printed."""
        said, end = "", time.monotonic() + SECONDS
        while time.monotonic() < end:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=SECONDS)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                said += content["text"]
            elif kind == "error":
                said += content["ename"] + ": " + content["evalue"]
            if (until is not None and until in said) or (
                kind == "status"
                and content["execution_state"] == "idle"
                and message["parent_header"]["msg_type"] == "execute_request"
            ):
                return said
        raise AssertionError(f"nothing more is printed after {said!r}")


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    one = Kernel()
    yield one
    one.client.stop_channels()
    one.manager.shutdown_kernel(now=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_interrupted_cell_loses_nothing_and_the_next_cells_go_on(kernel: Kernel) -> None:
    kernel.begin(SETUP)
    assert kernel.outcome() == ""
    kernel.begin(LOOP)
    assert "under way" in kernel.outcome(until="under way")
    kernel.manager.interrupt_kernel()
    assert "KeyboardInterrupt" in kernel.outcome()
    kernel.begin(AFTER)
    assert kernel.outcome().endswith("right\n")
