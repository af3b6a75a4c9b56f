from __future__ import annotations

import os
from pathlib import Path

import pytest

from datarax_mp.core.cores import usable_cores

V2 = "0::/user/job\n"
V1 = "4:cpu,cpuacct:/docker/a\n7:memory:/docker/a\n"


def fake(tmp_path: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        (V2, {}, 8),
        (V2, {"sys/fs/cgroup/user/job/cpu.max": "max 100000"}, 8),
        (V2, {"sys/fs/cgroup/user/job/cpu.max": "300000 100000"}, 3),
        (V2, {"sys/fs/cgroup/user/job/cpu.max": "150000 100000"}, 2),
        (V2, {"sys/fs/cgroup/user/job/cpu.max": "10000 100000"}, 1),
        (V2, {"sys/fs/cgroup/user/job/cpu.max": "max 100000", "sys/fs/cgroup/user/cpu.max": "400000 100000"}, 4),
        (V2, {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2),  # as seen inside a container
        (V2, {"sys/fs/cgroup/user/job/cpu.max": "9900000 100000"}, 8),
        (
            V1,
            {
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            V1,
            {
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000",
            },
            8,
        ),
    ],
)
def test_the_tightest_limit_counts(tmp_path: Path, cgroup: str, files: dict[str, str], cores: int) -> None:
    assert usable_cores(fake(tmp_path, cgroup, files)) == cores


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == 8
