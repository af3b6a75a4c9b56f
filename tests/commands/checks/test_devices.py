"""JAX's devices, which may hang."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from datarax_mp.commands.checks.devices import devices


def asked(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_devices_are_counted_by_kind() -> None:
    code = """print("chatter"); print('["0.9.0", "gpu", ["H100", "H100"]]')"""
    [found] = devices(asked(code))
    assert (found.mark, found.found) == ("ok", "0.9.0, backend gpu: 2 x H100")


def test_devices_that_hang_do_not_hang_doctor() -> None:
    began = time.monotonic()
    [found] = devices(asked("import time; time.sleep(600)"), seconds=0.2)
    assert time.monotonic() - began < 60
    assert found.mark == "FAIL" and "have not answered in 0.2 s" in found.found and "nvidia-smi" in found.remedy


def test_what_jax_says_when_it_fails_is_told() -> None:
    [found] = devices(asked("raise RuntimeError('no such platform')"))
    assert found.mark == "FAIL" and found.found == "RuntimeError: no such platform"


def test_a_gpu_that_lies_idle_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """print('["0.9.0", "cpu", ["cpu"]]')"""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert [one.mark for one in devices(asked(code), nvidia=str(tmp_path / "none"))] == ["ok"]
    [found] = devices(asked(code), nvidia=str(tmp_path))
    assert found.mark == "note" and "cuda" in found.remedy
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    [found] = devices(asked(code), nvidia=str(tmp_path))
    assert "JAX_PLATFORMS=cpu" in found.remedy
