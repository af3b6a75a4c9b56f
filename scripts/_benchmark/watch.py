"""Run one measurement in a child process, watch it from outside, and clear up behind it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from _benchmark import processes

GRACE_SECONDS = 60.0  # for the end of a measurement, beyond its own time; only reached in case of a hang
SAMPLE_SECONDS = 0.5
END_SECONDS = 5.0  # that a child which has said all may take to go, with all its processes
# One thread in every process, for all systems alike: datarax_mp's workers set this for themselves, torch's do in part.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_ENVIRONMENT = {**dict.fromkeys(_THREADS, "1"), "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")}


class DidNotFinish(Exception):
    """The child was still at it when its time was over."""


class Failed(Exception):
    """The child ended without a result."""


@dataclass
class Seen:
    """What was seen of a child from outside.

    Attributes:
        pss: the largest sample while the loader was open, in bytes; 0 when no sample was taken.
        left: names in /dev/shm that it left behind, which are removed now.
    """

    pss: int = 0
    left: tuple[str, ...] = ()


def run_child(spec: dict[str, Any], *, limit: float, seconds: float, memory: bool) -> dict[str, Any]:
    """Measure in a fresh process that leads a session of its own.

    Args:
        spec: what to measure; see ``_benchmark.child``.
        limit: seconds from the start until the child says that it is warm.
        seconds: how long the measurement then takes.
        memory: whether to sample the memory of its process tree twice a second.

    Raises:
        DidNotFinish: it was not warm in time, or hung afterwards.
        Failed: it ended without a result.
    """
    script = str(Path(__file__).parent.parent / "benchmark.py")
    before = set(os.listdir(processes.SHM)) if processes.SHM.is_dir() else set()
    seen, names = Seen(), set()
    with tempfile.TemporaryFile("w+") as complaints:
        child = subprocess.Popen(
            [sys.executable, script, "--child", json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
        )
        try:
            result = _listen(child, seen, names, limit, seconds, memory)
            processes.wait(child, END_SECONDS)
        finally:
            names |= processes.end(child.pid)
            child.wait()
            seen.left = tuple(processes.remove(names - before))
        if result is None:
            complaints.seek(0)
            raise Failed(_last_line(complaints, child.returncode))
    if seen.left:
        print(f"  left in /dev/shm, removed now: {' '.join(seen.left)}", file=sys.stderr)
    return {**result, "pss": seen.pss, "left_in_shm": list(seen.left)}


def _listen(
    child: subprocess.Popen[str], seen: Seen, names: set[str], limit: float, seconds: float, memory: bool
) -> dict[str, Any] | None:
    """Take the child's events until it ends; its result, or None."""
    assert child.stdout is not None
    events: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(child.stdout, events), daemon=True).start()
    sampling = False
    deadline, why = time.monotonic() + limit, f"it was not warm in {limit:g} s"
    while True:
        ended = child.poll() is not None  # asked first: all that it has said is in the pipe by then
        try:
            event = events.get(timeout=max(0.0, min(SAMPLE_SECONDS, deadline - time.monotonic())))
        except queue.Empty:
            if sampling:
                seen.pss = max(seen.pss, processes.pss_bytes(child.pid))
            if time.monotonic() >= deadline:
                raise DidNotFinish(why) from None
            if ended:  # a process that it forked may hold its end of the pipe open
                return None
            continue
        if event is None:
            return None
        if event["event"] == "open":
            sampling = memory
        elif event["event"] == "warm":
            seen.pss = processes.pss_bytes(child.pid) if memory else 0
            names |= processes.shm_names(child.pid)
            deadline = time.monotonic() + seconds + GRACE_SECONDS
            why = f"it was warm, but did not finish {seconds:g} s of measuring in {seconds + GRACE_SECONDS:g} s"
        elif event["event"] == "measured":  # what follows is its end
            names |= processes.shm_names(child.pid)
            sampling = False
        elif event["event"] == "error":
            raise Failed(event["result"])
        elif event["event"] == "result":
            return event["result"]


def _read(pipe: IO[str], events: queue.Queue[dict[str, Any] | None]) -> None:
    """Pass the child's lines on; None when it has closed its end, as it does when it ends."""
    for line in pipe:
        events.put(json.loads(line))
    events.put(None)


def _last_line(complaints: IO[str], code: int) -> str:
    lines = complaints.read().strip().splitlines()
    return lines[-1].strip() if lines else f"exit status {code}"
