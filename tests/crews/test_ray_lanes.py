"""Lanes of an ``IterableSource`` with processes beside Ray actors that come late, or never."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

pytest.importorskip("ray")

SCRIPT = """
import warnings
warnings.filterwarnings("ignore", r"os\\.fork\\(\\) was called", RuntimeWarning)

import ray
from datarax_mp import IterableSource, Pipeline, RayWorkers

def make(lane, lanes):
    for number in range(lane, 90, lanes):
        yield {"number": number}

def numbers(**how):
    with Pipeline(source=IterableSource(make, lanes=6), batch_size=3, output="numpy", **how) as pipeline:
        return [batch["number"].tolist() for batch in pipeline]

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    alone = numbers()
    for cpus in (1, 1000):  # there is room for the actors, or never will be
        assert numbers(num_workers=3, workers=RayWorkers(local=1, num_cpus=cpus)) == alone, cpus
    ray.shutdown()
"""


def test_the_processes_begin_where_no_actor_is_there(run_script: Callable[..., CompletedProcess[str]]) -> None:
    done = run_script(SCRIPT, check=False)  # Ray's own words are on standard error
    assert done.returncode == 0, done.stderr
