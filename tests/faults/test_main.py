"""The main process is killed or interrupted: at any stage of its start, and whatever its workers are at."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

BEGIN = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where a shell runs the tests in the background
import numpy as np
from datarax_mp import Pipeline
from datarax_mp.crews.processes.spawner import Spawner

def ready():
    print("ready", flush=True)

class Source:
    def __init__(self, stuck_in):
        self.stuck_in = stuck_in
    def __len__(self):
        return 100
    def __setstate__(self, state):
        self.__dict__ = state
        if self.stuck_in == "load":
            ready()
            time.sleep(1000)
    def __getitem__(self, number):
        if self.stuck_in == "read" and number > 20:
            stuck()
        return {"n": number}

def pipeline(stuck_in, workers=3):
    return Pipeline(source=Source(stuck_in), batch_size=2, num_workers=workers, output="numpy", enforce_batch=False)
"""

# A module whose code no worker has yet, so that workers are forked of a template.
MODULE = """
class Through:
    def __init__(self, source):
        self.source = source
    def __len__(self):
        return len(self.source)
    def __getitem__(self, number):
        return self.source[number]
"""

THROUGH = """
from module import Through
from datarax_mp.crews.processes.template import Template
def pipeline(stuck_in):
    return Pipeline(source=Through(Source(stuck_in)), batch_size=2, num_workers=3, output="numpy", enforce_batch=False)
"""

# The program says "ready" when it has come to its moment.
MOMENTS = {
    "the nursery has just been started": "p = pipeline(None)\nready()\nsys.stdin.read()",
    "workers are being forked": (
        "Spawner.finish = lambda *_: (ready(), sys.stdin.read())\niter(pipeline(None, workers=20))"
    ),
    "workers load the program": "iter(pipeline('load', workers=1))",
    "workers are idle": "p = pipeline(None)\nlist(p)\nready()\nsys.stdin.read()",
    "workers sleep": (
        "def stuck(): time.sleep(1000)\np = pipeline('read')\nnext(iter(p))\ni = iter(p)\nready()\nlist(i)"
    ),
    "workers compute": (
        "def stuck():\n    while True: pass\np = pipeline('read')\ni = iter(p)\nnext(i)\nready()\nlist(i)"
    ),
    "a template loads the program": THROUGH + "iter(pipeline('load'))",
    "a template forks": THROUGH + "Template.finish = lambda *_: (ready(), sys.stdin.read())\niter(pipeline(None))",
    "workers of a template compute": (
        THROUGH + "def stuck():\n    while True: pass\np = pipeline('read')\ni = iter(p)\nnext(i)\nready()\nlist(i)"
    ),
    "workers hold the GIL": (
        "def stuck(): 10 ** 10 ** 9\np = pipeline('read')\ni = iter(p)\nnext(i)\nready()\nsys.stdin.read()"
    ),
}


# Whoever runs the tests may be ignoring it (nohup), which programs inherit.
NOT_IGNORED = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"


def start(code: str, tmp_path: Path, family: Any) -> subprocess.Popen[bytes]:
    script = tmp_path / "script.py"
    script.write_text(NOT_IGNORED + BEGIN + code)
    (tmp_path / "module.py").write_text(MODULE)
    main = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=family.env,
        process_group=0,
    )
    assert main.stdout is not None
    assert main.stdout.readline() == b"ready\n"
    return main


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_when_main_is_killed_everything_is_gone_at_once(moment: str, how: int, tmp_path: Path, family: Any) -> None:
    main = start(MOMENTS[moment], tmp_path, family)
    main.send_signal(how)
    assert main.wait(20) == -how
    assert family.gone_within(20)
    _, stderr = main.communicate()
    assert stderr == b""


@pytest.mark.parametrize("moment", ["the nursery has just been started", "workers compute"])
def test_when_the_whole_process_group_is_killed_everything_is_gone_at_once(
    moment: str, tmp_path: Path, family: Any
) -> None:
    main = start(MOMENTS[moment], tmp_path, family)
    os.killpg(main.pid, signal.SIGKILL)
    assert main.wait(20) == -signal.SIGKILL
    assert family.gone_within(20)
    main.communicate()


def test_when_every_process_is_killed_at_once_no_memory_is_left(tmp_path: Path, family: Any) -> None:
    main = start(MOMENTS["workers compute"], tmp_path, family)
    for process in family.alive():
        with contextlib.suppress(psutil.NoSuchProcess):  # the others act at once, too
            process.kill()
    assert main.wait(20) == -signal.SIGKILL
    assert family.gone_within(20)
    main.communicate()  # and the fixture of all tests looks into /dev/shm


INTERRUPTED = """
import threading
SENT = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "sent")

def wait_for_the_interrupt():
    while not os.path.exists(SENT):
        time.sleep(0.005)

def slow(record):
    if record == 8:
        ready()
    if record == 20:
        wait_for_the_interrupt()
    time.sleep(0.02 if record >= 8 else 0)
    return {"n": record}
pipeline = Pipeline(source=list(range(40)), batch_size=4, num_workers=2, stages=[slow], output="numpy",
                    enforce_batch=False)
for epoch in range(2):
    if epoch == 1:
        wait_for_the_interrupt()
        os.remove(SENT)
    interrupts, received = 0, []
    try:
        iterator = iter(pipeline)
        for element in iterator:
            received.append(int(element["n"]))
    except KeyboardInterrupt:
        interrupts += 1
    assert interrupts == 1
    received += [int(element["n"]) for element in iterator]
    lost = set(range(max(received, default=-1) + 1)) - set(received)
    assert len(lost) <= 1  # the one that the loop's body had in hand, if the interrupt came there
    assert received == sorted(received)
assert [int(e["n"]) for e in pipeline] == list(range(40))
print("again")
"""


def test_ctrl_c_is_one_interrupt_in_main_and_the_pipeline_can_be_iterated_again(tmp_path: Path, family: Any) -> None:
    main = start(INTERRUPTED, tmp_path, family)
    assert main.stdout is not None
    os.killpg(main.pid, signal.SIGINT)  # as a terminal does: to everybody in the group
    (tmp_path / "sent").touch()
    assert main.stdout.readline() == b"ready\n"
    os.killpg(main.pid, signal.SIGINT)
    (tmp_path / "sent").touch()
    stdout, stderr = main.communicate(timeout=60)
    assert stderr == b""
    assert stdout == b"ready\nagain\n"
    assert main.returncode == 0
    assert family.gone_within(20)


@pytest.mark.parametrize("moment", ["workers load the program", "workers sleep", "workers are idle"])
def test_ctrl_c_that_nobody_catches_is_one_traceback_and_nothing_left(moment: str, tmp_path: Path, family: Any) -> None:
    main = start(MOMENTS[moment], tmp_path, family)
    os.killpg(main.pid, signal.SIGINT)
    _, stderr = main.communicate(timeout=60)
    assert main.returncode == -signal.SIGINT
    assert stderr.count(b"Traceback") == 1
    assert stderr.endswith(b"KeyboardInterrupt\n")
    assert family.gone_within(20)
