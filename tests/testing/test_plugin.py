from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import numpy as np
from datarax_mp import MemorySource, MemorySourceConfig, Pipeline

pytest_plugins = ["datarax_mp.testing.plugin"]
KEPT = []

def start(**options):
    pipeline = Pipeline(source={"x": np.arange(40)}, batch_size=2, num_workers=2, **options)
    return pipeline, iter(pipeline)

def test_closed(leaves_nothing_behind):
    pipeline, iterator = start()
    next(iterator)
    pipeline.close()

def test_used_up_and_dropped(leaves_nothing_behind):
    pipeline, iterator = start()
    assert len(list(iterator)) == 20

def test_without_workers(leaves_nothing_behind):
    assert len(list(Pipeline(source={"x": np.arange(4)}, batch_size=2))) == 2

def test_left_open(leaves_nothing_behind):
    pipeline, iterator = start()
    next(iterator)
    KEPT.extend([pipeline, iterator])

def test_after_that(leaves_nothing_behind):
    pass

def test_batch_kept(leaves_nothing_behind):
    pipeline, iterator = start(output="numpy")
    KEPT.append(next(iterator))
    pipeline.close()

def test_source_kept(leaves_nothing_behind):
    source = MemorySource(MemorySourceConfig(), {"x": np.arange(4)})
    KEPT.append(source)
    with Pipeline(source=source, batch_size=2, num_workers=1) as pipeline:
        list(pipeline)
"""


@pytest.mark.needs("proc")  # which tells what is still open
def test_a_test_that_leaves_something_behind_has_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    told = done.stdout
    errors = {line.split("::")[1].split()[0] for line in told.splitlines() if line.startswith("ERROR ")}
    assert errors == {"test_left_open", "test_batch_kept", "test_source_kept"}, told
    assert "worker processes are still at work: close the pipeline" in told
    assert "pieces of shared memory are still in use" in told
    assert told.count("PASSED") == 7
