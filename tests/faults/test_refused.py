"""Every call that the system may lack or forbid, alone and all together, with deaths in the run.

``tests/refuse.py ENOSYS all -- pytest`` runs the whole suite so; ``.ci/run`` does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REFUSE = str(Path(__file__).parents[1] / "refuse.py")
CANNOT = 77

USE = r"""
import ctypes, logging, os, re, runpy, signal, time
if os.path.exists("/proc/self") and "DATARAX_MP_TEST_PROC" in os.environ:
    runpy.run_path(REFUSE)["hide_proc"]()
from datarax_mp import Pipeline, WorkerTimeoutError

logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("datarax_mp").addHandler(handler)

WAYS = {
    10: lambda: os.kill(os.getpid(), signal.SIGKILL),
    21: lambda: ctypes.string_at(0),
    33: lambda: os._exit(3),
    47: lambda: os.closerange(3, 100),
}

def dies(record):
    if record in WAYS and not os.path.exists(f"died-{record}"):
        open(f"died-{record}", "w").close()
        WAYS[record]()
    return {"n": record}

def hangs(record):
    if record == 9:
        time.sleep(1000)
    return {"n": record}

def numbers(pipeline):
    return [n for batch in pipeline for n in batch["n"].tolist()]

with Pipeline(source=list(range(64)), batch_size=2, num_workers=2, stages=[dies], output="numpy") as pipeline:
    for _ in range(2):
        assert numbers(pipeline) == list(range(64))
assert len(logged) == 4, logged
for told in (
    r"SIGKILL\(-9\) while stage MapElement\(dies\) worked on record 10",
    r"SIGSEGV\(-11\) while stage MapElement\(dies\) worked on record 21[^\0]*in dies",
    r"exit code 3 while stage MapElement\(dies\) worked on record 33",
    "had its channel closed|exit code 0 while it sent its answer",
):
    assert sum(bool(re.search(told, line)) for line in logged) == 1, (told, logged)

hanging = Pipeline(source=list(range(64)), batch_size=2, num_workers=2, stages=[hangs], output="numpy", timeout=3)
with hanging as pipeline:
    try:
        numbers(pipeline)
    except WorkerTimeoutError as error:
        assert "worked on record 9" in str(error) and "in hangs" in str(error), error
    else:
        raise AssertionError
    pipeline.close(timeout=0.2)
"""

ALONE = ["pidfd_open", "pidfd_send_signal", "memfd_create", "fallocate", "prctl", "tmpfile", "proc"]


@pytest.mark.needs(*ALONE)  # refused already
@pytest.mark.parametrize("number", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("refused", [*ALONE, "memfd_create,tmpfile", "pidfd_open,proc", "all"])
def test_a_call_that_is_refused_changes_nothing_for_the_user(
    refused: str, number: str, tmp_path: Path, family: Any
) -> None:
    if number == "EPERM" and refused in ("tmpfile", "proc"):
        pytest.skip("it is not refused so")
    script = tmp_path / "script.py"
    script.write_text(f"REFUSE = {REFUSE!r}\n" + USE)
    done = subprocess.run(
        [sys.executable, REFUSE, number, refused, "--", sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env=family.env,
        check=False,
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert family.gone_within(20)
