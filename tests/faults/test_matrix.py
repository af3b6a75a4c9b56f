"""Every way for a worker to die, at every moment of its work, with one worker and with four.

Each case is a program of its own. It first meets one death, which must not show in the stream, and then a record, a
program or a message that kills whoever touches it, which must be an error that says what it was.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = '''
import ctypes, json, logging, mmap, os, signal, sys, tempfile
import numpy as np
from datarax_mp import MemorySource, MemorySourceConfig, Pipeline, WorkerError

kind, moment, workers, group = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
MAIN = os.getpid()


def beyond_the_end_of_a_file():
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        memory[0]


def out_of_memory():
    with open(group + "/cgroup.procs", "w") as procs:
        procs.write("0")
    bytearray(1 << 29)


WAYS = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGBUS": beyond_the_end_of_a_file,
    "out of memory": out_of_memory,
    "sys.exit(0)": lambda: sys.exit(0),
    "os._exit(0)": lambda: os._exit(0),
    "os._exit(3)": lambda: os._exit(3),
}


class Fate:
    """Kills this worker if fewer than so many have died of it."""

    def __init__(self, times):
        self.times, self.place = times, tempfile.mkdtemp(dir=".")

    def strike(self):
        if os.getpid() == MAIN:
            return
        for death in range(self.times):
            try:
                os.close(os.open(f"{self.place}/{death}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            WAYS[kind]()


class Source:
    def __init__(self, fate):
        self.fate = fate

    def __len__(self):
        return 120

    def __getitem__(self, number):
        if moment == "reading" and number == 30:
            self.fate.strike()
        return {"n": number, "x": np.full(20, number)}

    def __setstate__(self, state):
        self.__dict__ = state
        if moment == "import":
            self.fate.strike()


class Columns(MemorySource):
    def __init__(self, fate):
        rows = np.arange(120)
        super().__init__(MemorySourceConfig(), {"n": rows, "x": np.repeat(rows[:, None], 20, axis=1)})
        self.fate = fate

    def read_into(self, numbers, out):
        out["n",][:] = numbers
        out["x",][: len(numbers) // 2] = -1
        if moment == "writing" and 30 in numbers:
            self.fate.strike()
        out["x",][:] = numbers[:, None]


def stage(fate):
    def staged(record):
        if record["n"] == 30:
            if moment == "in a stage":
                fate.strike()
            if moment == "sending":
                halve_the_next_message(fate)
        return record
    return staged


def halve_the_next_message(fate):
    from datarax_mp.crews.processes.protocol import Channel
    send = Channel.send

    def half(channel, number, message):
        import pickle
        payload = pickle.dumps((number, message))
        channel.socket.sendall(len(payload).to_bytes(8, "little") + bytes(4) + payload[: len(payload) // 2])
        fate.strike()
        channel.socket.sendall(payload[len(payload) // 2 :])

    class Channel_(Channel):
        send = half
    import gc
    for channel in gc.get_objects():
        if type(channel).__name__.startswith("Channel"):  # also one of which an earlier pipeline took care
            channel.__class__ = Channel_


def pipeline(times):
    fate = Fate(times)
    source = Columns(fate) if moment == "writing" else Source(fate)
    stages = [stage(fate)] if moment in ("in a stage", "sending") else []
    return Pipeline(source=source, batch_size=4, num_workers=workers, stages=stages, output="numpy",
                    enforce_batch=False)


logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("datarax_mp").addHandler(handler)

with pipeline(times=1) as replaced:
    for _ in range(2):
        elements = list(replaced)
        assert [int(e["n"]) for e in elements] == list(range(120))
        assert all((e["x"] == e["n"]).all() for e in elements)
warnings = list(logged)

with pipeline(times=99) as poisoned:
    received = 0
    try:
        for element in poisoned:
            assert int(element["n"]) == received and (element["x"] == received).all()
            received += 1
    except WorkerError as error:
        print(json.dumps({"warnings": warnings, "error": str(error), "received": received}))
'''

DEATHS = {
    "SIGKILL": "SIGKILL(-9)",
    "SIGSEGV": "SIGSEGV(-11)",
    "SIGBUS": "SIGBUS(-7)",
    "out of memory": "SIGKILL(-9)",
    "sys.exit(0)": "exit code 0",
    "os._exit(0)": "exit code 0",
    "os._exit(3)": "exit code 3",
}

# What the message says, and how many records can be received before.
MOMENTS = {
    "import": ("while it loaded the source and the stages", 0),
    "reading": ("while it read record 30 (step 30 of epoch 0)", 30),
    "in a stage": ("while stage MapElement(staged) worked on record 30 (step 30 of epoch 0)", 30),
    "writing": ("while it read record", 28),
    "sending": ("while it sent its answer for record", 30),
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", DEATHS)
def test_death(
    kind: str, moment: str, workers: int, tmp_path: Path, control_group: Callable[[int], Path], family: Any
) -> None:
    group = str(control_group(40_000_000)) if kind == "out of memory" else "-"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), kind, moment, str(workers), group],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,  # only reached in case of a deadlock
        cwd=tmp_path,
        env=family.env,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert family.gone_within(20)
    told = json.loads(done.stdout)
    where, received = MOMENTS[moment]
    warning, *others = told["warnings"]
    for message in (warning, told["error"]):
        assert f"died of {DEATHS[kind]} {where}" in message
        assert "(pid " in message
    if kind in ("SIGSEGV", "SIGBUS"):
        assert "most recent call first" in warning
        assert "in strike" in warning
    assert "a new worker takes its place" in warning
    if moment == "import" and DEATHS[kind] == "SIGKILL(-9)":  # perhaps by somebody else, who goes on for a while
        assert re.search(r"[3-7] workers have died there", told["error"])
    else:
        assert "the second worker to die there" in told["error"]
        assert others == []
    assert told["received"] <= received
