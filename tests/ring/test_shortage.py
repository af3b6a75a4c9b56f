"""Too little shared memory, too little memory, and what dead runs have left in /dev/shm."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from datarax_mp.ring import Ring, SharedMemoryError, limits, names


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.needs("proc")
def test_no_memory_anywhere_is_an_error_with_numbers_and_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = psutil.Process().num_fds()
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    message = r"3 slots of 5\.0 MB\): 15\.0 MB needed, .* free of .* in /dev/shm, .* left in all .*Lower batch_size"
    with pytest.raises(SharedMemoryError, match=message) as caught:
        Ring(3, 5_000_000, shared=True)
    assert isinstance(caught.value.__cause__, OSError)
    assert psutil.Process().num_fds() <= descriptors + 1  # the resource tracker's pipe


def test_more_than_the_limit_is_an_error_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "room", lambda: limits.Room(10_000_000, "the memory limit of its group", 50_000_000))
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("allocated"))
    with pytest.raises(SharedMemoryError, match=r"15\.0 MB needed, .*10\.0 MB left in all \(within the memory limit"):
        Ring(3, 5_000_000, shared=True)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_tightest_limit_of_all_control_groups_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", "MemTotal: 900 kB\nMemAvailable: 800 kB\nSwapFree: 100 kB\n")
    assert limits.room(tmp_path) == limits.Room(900 * 1024, "the machine", 900 * 1024)
    write(tmp_path / "proc/self/cgroup", "0::/outer/inner\n")
    groups = tmp_path / "sys/fs/cgroup"
    for group, most in ((groups / "outer", "600000"), (groups / "outer/inner", "max")):
        write(group / "memory.max", f"{most}\n")
        write(group / "memory.current", "500000\n")
        write(group / "memory.stat", "anon 7\ninactive_file 200000\n")
    found = limits.room(tmp_path)
    assert found is not None
    assert found.size == 600_000 - (500_000 - 200_000)
    assert "0.6 MB" in found.within


def test_control_groups_of_version_1_count_also_inside_a_container(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "5:cpu:/\n4:memory:/docker/123\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory"  # inside, the group itself stands at the root
    write(group / "memory.limit_in_bytes", "1000000")
    write(group / "memory.usage_in_bytes", "300000")
    write(group / "memory.stat", "total_inactive_file 100000\n")
    found = limits.room(tmp_path)
    assert found is not None
    assert found.size == 800_000


def test_where_nothing_is_told_nothing_is_refused(tmp_path: Path) -> None:
    assert limits.room(tmp_path) is None


PIPELINE = (
    "import logging, numpy as np\n"
    "from datarax_mp import Pipeline, SharedMemoryError\n"
    "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
    "data = [{'x': np.full((100, 100), n, np.float32)} for n in range(20)]\n"
    "pipeline = Pipeline(source=data, batch_size=10, num_workers=2, output='numpy', enforce_batch=False)\n"
)


@pytest.mark.needs("proc")
def test_a_ring_beyond_the_control_groups_limit_is_an_error_and_no_kill(
    control_group: Callable[[int], Path], run_script: Callable[..., Any]
) -> None:
    group = control_group(120_000_000)
    join = f"with open({str(group / 'cgroup.procs')!r}, 'w') as file:\n    file.write('0')\n"
    code = (
        "import numpy as np\nfrom datarax_mp.ring import Ring, SharedMemoryError\n"
        "Ring(4, 5_000_000, shared=True)\n"
        "try:\n    Ring(4, 50_000_000, shared=True)\nexcept SharedMemoryError as error:\n    print(error)\n"
    )
    told = run_script(join + code).stdout
    assert "200.0 MB needed" in told
    assert "control group, 120.0 MB" in told


def _may_mount() -> bool:
    command = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    return subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, check=False).returncode == 0


@pytest.mark.needs("memfd_create")
@pytest.mark.skipif(not _may_mount(), reason="needs the right to mount a file system")
def test_a_small_dev_shm_does_not_matter_and_the_log_says_so_once() -> None:
    code = PIPELINE + "for _ in range(2):\n    assert [int(e['x'][0, 0]) for e in pipeline] == list(range(20))\n"
    mount = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "-", sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert "of 1.0 MB) is too small for " in line
    assert "anonymous memory" in line


NEXT_RUN = """
import logging
from pathlib import Path
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from datarax_mp.ring import Segment, names
names._SHM = Path({folder!r})
Segment.create(4096, "a test", "-").close()
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where names are looked for; in /dev/shm, whatever begins beside this test would remove them, and tell of it."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(names, "_SHM", tmp_path / "shm")
    return tmp_path / "shm"


def name_of(pid: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name that a process would give to a block."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        return names.new_name()


def test_blocks_of_dead_runs_are_removed_and_nobody_elses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, run_script: Callable[..., Any]
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left_by_child = folder / name_of(child.pid, monkeypatch)
    live = folder / names.new_name()
    in_a_container = folder / "datarax_mp-1-2-3-4"
    of_others = folder / "psm_datarax_mp-test"
    blocks = [left_by_child, live, in_a_container, of_others]
    for path in blocks:
        path.touch()
    names.reclaim()
    assert all(path.exists() for path in blocks)  # the child lives
    child.communicate(b"\n", timeout=60)
    told = run_script(NEXT_RUN.format(folder=str(folder)), check=False).stderr
    assert told == f"removed from /dev/shm what killed runs had left: {left_by_child.name}\n"
    assert [path for path in blocks if path.exists()] == [live, in_a_container, of_others]


@pytest.mark.parametrize(
    "planted",
    [
        "{prefix}-²-²-²-²",
        "{prefix}-{namespace}-²-1-1",
        "{prefix}-{namespace}-99999999999999999999999-1-1",
        "{prefix}-{namespace}-4194303-1-1 (deleted)",
        "{prefix}-{namespace}-٣-1-1",
        "{prefix}-{namespace}-4194303-1-1\n",
        "{prefix}-{namespace}--1-1-1",
        "{prefix}-",
    ],
)
def test_a_name_that_is_not_exactly_one_of_ours_is_not_looked_at(
    planted: str, folder: Path, run_script: Callable[..., Any]
) -> None:
    prefix, namespace, *_ = names.new_name().split("-")
    path = folder / planted.format(prefix=prefix, namespace=namespace)
    path.touch()
    run_script(NEXT_RUN.format(folder=str(folder)))
    assert path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give files away")
def test_another_users_file_or_a_link_under_a_dead_runs_name_is_not_touched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = subprocess.Popen(["true"])
    planted, link = folder / name_of(child.pid, monkeypatch), folder / name_of(child.pid, monkeypatch)
    child.wait()
    planted.touch()
    os.chown(planted, 65534, 65534)
    link.symlink_to(tmp_path)
    assert names.reclaim() == []
    assert planted.exists()
    assert link.is_symlink()


def test_a_number_that_another_process_has_got_since_does_not_protect_a_block(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(names, "start_time", lambda _: "12345")
        stale = folder / names.new_name()
    stale.touch()
    assert names.reclaim() == [stale.name]
    assert not stale.exists()


def test_a_limit_on_the_size_of_files_is_an_error_that_says_so(run_script: Callable[..., Any]) -> None:
    run_script(
        "import resource\n"
        "import numpy as np\n"
        "from datarax_mp import Pipeline, SharedMemoryError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))\n"
        "def numbers():\n"
        "    pipeline = Pipeline(source=np.zeros((64, 5000)), batch_size=16, num_workers=2, output='numpy')\n"
        "    return sum(batch.batch_size for batch in pipeline)\n"
        "for _ in range(2):\n"
        "    try:\n        numbers()\n"
        "    except SharedMemoryError as error:\n"
        "        assert 'no file may be larger than 1000000 bytes' in str(error), error\n"
        "        assert 'ulimit -f' in str(error), error\n"
        "    else:\n        raise AssertionError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "assert numbers() == 64\n"
    )
