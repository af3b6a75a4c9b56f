"""``python -m datarax_mp doctor``: each line is ok or says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarax_mp.commands import main
from datarax_mp.commands.checks import all as listed
from datarax_mp.commands.checks.finding import Finding

REFUSE = Path(__file__).resolve().parents[1] / "refuse.py"
REFUSED = ["pidfd_open", "pidfd_send_signal", "memfd_create", "fallocate", "prctl", "tmpfile"]


def fine() -> Iterator[Finding]:
    yield Finding("this", "is well")


def improvable() -> Iterator[Finding]:
    yield Finding("that", "is slow", "make it quick")


def broken() -> Iterator[Finding]:
    yield Finding("those", "do not work", "repair them", works=False)


def odd() -> Iterator[Finding]:
    raise LookupError("nobody has thought of this")
    yield


def told(*checks: object, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    monkeypatch.setattr(listed.findings, "__defaults__", (checks,))
    return main(["doctor", *words])


def test_what_is_to_be_done_stands_under_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(fine, improvable, monkeypatch=monkeypatch, words=[]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok    this: is well",
        "note  that: is slow",
        "      make it quick",
    ]


def test_what_does_not_work_is_exit_code_1_and_the_rest_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(broken, odd, fine, monkeypatch=monkeypatch, words=["--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["works"] is False
    assert [(one["name"], one["mark"]) for one in found["findings"]] == [
        ("those", "FAIL"),
        ("odd", "FAIL"),
        ("this", "ok"),
    ]
    assert "LookupError: nobody has thought of this" in found["findings"][1]["found"]


def test_a_system_that_refuses_calls_is_told_of_and_works() -> None:
    doctor = [sys.executable, "-W", "error", "-m", "datarax_mp", "doctor", "--json"]
    command = [sys.executable, str(REFUSE), "EPERM", ",".join(REFUSED), "--", *doctor]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode == 77:
        pytest.skip("this system cannot refuse calls")
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, (done.stdout, done.stderr)
    for name in ("pidfd", "memfd_create", "O_TMPFILE", "fallocate", "prctl"):
        assert found[name]["mark"] == "note" and "nothing has to be done" in found[name]["remedy"], found[name]
    assert "memfd" not in found["/dev/shm"]["found"]
    assert found["self-test"]["mark"] == "ok" and "the same as without" in found["self-test"]["found"]
    assert "backend cpu" in found["jax"]["found"]
