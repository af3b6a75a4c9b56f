"""Cores, memory, shared memory and descriptors, of machines that are made up."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from datarax_mp.commands.checks import cores as cores_module
from datarax_mp.commands.checks import shared_memory as shared_memory_module
from datarax_mp.commands.checks import start as start_module
from datarax_mp.commands.checks.cores import cores
from datarax_mp.commands.checks.descriptors import descriptors
from datarax_mp.commands.checks.memory import huge_pages, memory
from datarax_mp.commands.checks.shared_memory import shared_memory
from datarax_mp.commands.checks.start import start
from datarax_mp.ring.files import has_huge_pages
from datarax_mp.ring.segment import SharedMemoryError


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_one_core_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000\n")
    [found] = cores(tmp_path)
    assert found.mark == "note" and "1 usable" in found.found and "a quota of 0.5" in found.found
    assert "share one core" in found.remedy


def test_a_quota_below_the_affinity_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores_module, "affinity", lambda: 64)
    monkeypatch.setattr(cores_module, "quota", lambda root: 3.5)
    monkeypatch.setattr(cores_module, "usable_cores", lambda root: 4)
    [found] = cores(tmp_path)
    assert found.mark == "note" and "OMP_NUM_THREADS=4" in found.remedy


def test_little_memory_is_told_with_what_limits_it(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemAvailable: 8000000 kB\nSwapFree: 0 kB\n")
    assert [one.mark for one in memory(tmp_path)] == ["ok"]
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "500000000\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "100000000\n")
    [found] = memory(tmp_path)
    assert found.mark == "note" and found.found.startswith("0.4 GB left within the memory limit of its control group")
    assert "memory_budget=" in found.remedy


def test_huge_pages_are_told_where_the_system_tells(tmp_path: Path) -> None:
    assert "does not tell" in next(huge_pages(tmp_path)).found
    write(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    given = "" if has_huge_pages() else "not "
    assert next(huge_pages(tmp_path)).found.startswith(f"madvise for memory, {given}given for shared memory")


def test_a_mount_that_is_missing_matters_only_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = shared_memory("/no/such/mount")
    assert found.mark == "ok" and "is not there; what does not fit comes from memfd_create" in found.found
    monkeypatch.setattr(shared_memory_module, "refusal", lambda name: "forbidden")
    [found] = shared_memory("/no/such/mount")
    assert found.mark == "note" and "--shm-size" in found.remedy


def test_no_shared_memory_at_all_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SharedMemoryError("there is none")

    monkeypatch.setattr(shared_memory_module.Segment, "create", refuse)
    *_, found = shared_memory()
    assert found.mark == "FAIL" and found.found == "there is none" and "threads" in found.remedy


def test_few_descriptors_are_told_of() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, before[1]))
    try:
        [found] = descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found.mark == "note" and found.found.startswith("at most 500") and "ulimit -n 1024" in found.remedy


def test_a_system_that_is_not_posix_is_sent_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(start()).mark == "ok"
    monkeypatch.setattr(start_module, "missing", lambda *_: ["os.fork"])
    [found] = start()
    assert found.mark == "FAIL" and "os.fork" in found.found and "threads" in found.remedy
