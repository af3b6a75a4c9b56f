from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datarax_mp.crews.processes.shortage import Watch


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group_v2(root: Path, kills: int) -> None:
    write(root / "proc/self/cgroup", "0::/job\n")
    write(root / "sys/fs/cgroup/job/memory.max", "200000000\n")
    write(root / "sys/fs/cgroup/job/memory.current", "150000000\n")
    write(root / "sys/fs/cgroup/job/memory.events", f"low 0\noom 5\noom_kill {kills}\n")


def group_v1(root: Path, kills: int) -> None:
    write(root / "proc/self/cgroup", "4:memory:/job\n0::/\n")
    group = root / "sys/fs/cgroup/memory/job"
    write(group / "memory.limit_in_bytes", "200000000\n")
    write(group / "memory.max_usage_in_bytes", "150000000\n")
    write(group / "memory.oom_control", f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")


@pytest.mark.parametrize("group", [group_v1, group_v2])
def test_a_count_that_has_risen_is_named_with_limit_and_use_once(group: Callable[..., None], tmp_path: Path) -> None:
    group(tmp_path, 2)
    watch = Watch(tmp_path)
    assert watch.cause(-signal.SIGKILL) == "; often the kernel, out of memory"
    group(tmp_path, 3)
    told = "; the kernel killed it, out of memory: limit 200.0 MB of its control group, 150.0 MB in use at most"
    assert watch.cause(-signal.SIGKILL) == told
    assert watch.cause(-signal.SIGKILL) == "; often the kernel, out of memory"


def test_the_machine_counts_too(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 100000 kB\n")
    write(tmp_path / "proc/vmstat", "oom_kill 0\n")
    watch = Watch(tmp_path)
    write(tmp_path / "proc/vmstat", "oom_kill 1\n")
    told = watch.cause(-signal.SIGKILL)
    assert told.endswith("out of memory: the machine has 1024.0 MB, of which 921.6 MB are in use")


def test_other_ends_have_nothing_to_do_with_memory(tmp_path: Path) -> None:
    assert Watch(tmp_path).cause(3) == ""
    assert Watch(tmp_path).cause(-signal.SIGTERM) == ""
    assert Watch(tmp_path).cause(-signal.SIGSEGV) == ""


HUNGRY = """
import logging, os
import numpy as np
from datarax_mp import Pipeline, WorkerError

def hungry(record):
    if record >= 20:
        kept = [np.ones(5_000_000) for _ in range(10)]
    return {"n": record}
"""


@pytest.mark.needs("proc")
def test_a_control_group_that_fills_up_during_the_epoch_is_told_with_its_numbers(
    control_group: Callable[[int], Path], run_script: Callable[..., Any]
) -> None:
    group = control_group(250_000_000)
    run_script(
        f"with open({str(group / 'cgroup.procs')!r}, 'w') as file:\n    file.write('0')\n" + HUNGRY + "received = 0\n"
        "try:\n"
        "    for batch in Pipeline(source=np.arange(64), batch_size=4, num_workers=1, stages=[hungry],\n"
        "                          output='numpy', enforce_batch=False):\n"
        "        received += 1\n"
        "except WorkerError as error:\n"
        "    assert 'out of memory: limit 2' in str(error) and 'MB in use at most' in str(error), error\n"
        "    assert 'worked on record 20' in str(error), error\n"
        "else:\n"
        "    raise AssertionError\n"
        "assert received <= 20\n",
        check=False,
    )


@pytest.mark.needs("proc")
@pytest.mark.parametrize("workers", [0, 1])
def test_the_limit_of_the_address_space_is_an_error_with_its_numbers(
    workers: int, run_script: Callable[..., Any]
) -> None:
    run_script(
        HUNGRY + "import resource\n"
        "def limited(record):\n"
        "    with open('/proc/self/statm') as file:\n"
        "        used = int(file.read().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, resource.RLIM_INFINITY))\n"
        "    return hungry(record)\n"
        "try:\n"
        f"    list(Pipeline(source=np.arange(64), batch_size=4, num_workers={workers}, stages=[limited],\n"
        "                  output='numpy'))\n"
        "except MemoryError as error:\n"
        "    notes = ' '.join(error.__notes__)\n"
        "    assert 'the limit (ulimit -v) is' in notes and 'bytes are in use' in notes, notes\n"
        "    assert 'record 20' in notes, notes\n"
        "else:\n"
        "    raise AssertionError\n"
    )
