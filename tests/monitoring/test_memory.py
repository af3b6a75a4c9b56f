from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.crews.processes.pool import pool
from datarax_mp.monitoring.memory import Sampler, tree_memory
from tests.processes import own_memory


def pipeline(workers: int = 2) -> Pipeline:
    return Pipeline(source=np.zeros((2000, 32, 32), np.uint8), batch_size=50, num_workers=workers, output="numpy")


def test_the_tree_is_seen_with_its_roles_and_shared_memory_is_counted_once() -> None:
    with pipeline() as batches:
        iterator = iter(batches)
        next(iterator)
        tree = tree_memory()
    assert [process.pid for process in tree.of("main")] == [os.getpid()]
    assert len(tree.of("nursery")) == 1
    assert len(tree.of("worker")) >= 2
    assert all(0 < process.uss <= process.pss <= process.rss for process in tree.of("worker"))
    assert tree.pss < sum(process.rss for role in ("main", "nursery", "worker") for process in tree.of(role))


@pytest.mark.needs("proc")
def test_a_worker_without_user_imports_is_light() -> None:
    pool().close()  # parked workers may have imported what other tests need
    with pipeline() as batches:
        assert sum(batch.batch_size for batch in batches) == 2000
        assert max(own_memory(process.pid) for process in tree_memory().of("worker")) < 9e6


def test_the_sampler_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with Sampler(0.05) as sampler:
        sampler.sample()
    assert set(threading.enumerate()) <= before  # those of other tests may end meanwhile
    assert len(sampler.samples) >= 1


def test_a_missing_psutil_is_an_error_that_names_the_extra(run_script: Callable[..., Any]) -> None:
    code = (
        "import sys\n"
        "sys.modules['psutil'] = None\n"
        "try:\n"
        "    import datarax_mp.monitoring.memory\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "datarax-mp[monitoring]" in run_script(code).stdout
