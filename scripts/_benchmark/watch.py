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
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from _benchmark import processes

GRACE_SECONDS = 60.0  # for the end of a measurement, beyond its own time; only reached in case of a hang
SAMPLE_SECONDS = 0.5
START_SAMPLE_SECONDS = 0.1  # until it is warm: data may exist twice for a moment
END_SECONDS = 5.0  # that a child which has said all may take to go, with all its processes
# One thread in every process, for all systems alike: datarax_mp's workers set this for themselves, torch's do in part.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_ENVIRONMENT = {**dict.fromkeys(_THREADS, "1"), "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")}
_SCRIPT = str(Path(__file__).parent.parent / "benchmark.py")


class DidNotFinish(Exception):
    """The child was still at it when its time was over."""


class Failed(Exception):
    """The child ended without a result."""


def run_child(spec: dict[str, Any], *, limit: float, seconds: float, memory: bool) -> dict[str, Any]:
    """Measure in a fresh process that leads a session of its own.

    Args:
        spec: what to measure; see ``_benchmark.child``.
        limit: seconds from the start until the child says that it is warm.
        seconds: how long the measurement then takes.
        memory: whether to sample the memory of its process tree while it measures.

    Returns:
        The child's result, and in bytes the largest sample of memory since the loader was made ("pss_peak") and
        since it was warm ("pss_warm"); both are 0 without samples.

    Raises:
        DidNotFinish: it was not warm in time, or hung afterwards.
        Failed: it ended without a result.
    """
    before = processes.shm_names()
    with tempfile.TemporaryFile("w+") as complaints:
        child = subprocess.Popen(
            [sys.executable, _SCRIPT, "--child", json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
        )
        watch = Watch(child, memory=memory)
        try:
            result = watch.listen(limit, seconds)
            watch.family.wait(END_SECONDS)
        finally:
            watch.inodes |= watch.family.kill()
            child.wait()
            left = _clear_up(before, watch.inodes)
        if result is None:
            complaints.seek(0)
            raise Failed(_last_line(complaints, child.returncode))
    return {**result, "pss_peak": watch.peak, "pss_warm": watch.warm, "left_in_shm": left}


class Watch:
    """A child seen from outside.

    Args:
        child: the process.
        memory: whether to sample its memory.

    Attributes:
        family: the child and all that it has started.
        inodes: in /dev/shm, that it was seen to have mapped.
        peak: the largest sample of its memory, in bytes.
        warm: the largest since it was warm.
    """

    def __init__(self, child: subprocess.Popen[str], *, memory: bool) -> None:
        self.child, self.memory = child, memory
        self.family = processes.Family(child.pid)
        self.inodes: set[int] = set()
        self.peak = self.warm = 0
        self._phase = ""
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def listen(self, limit: float, seconds: float) -> dict[str, Any] | None:
        """Take the child's events until its result, which is returned, or its end."""
        deadline, why = time.monotonic() + limit, f"it was not warm in {limit:g} s"
        while True:
            ended = self.child.poll() is not None  # asked first: all that it has said is in the pipe by then
            pause = START_SAMPLE_SECONDS if self._phase == "open" else SAMPLE_SECONDS
            try:
                event = self._events.get(timeout=max(0.0, min(pause, deadline - time.monotonic())))
            except queue.Empty:
                self._sample()
                if time.monotonic() >= deadline:
                    raise DidNotFinish(why) from None
                if ended:  # a process that it forked may hold its end of the pipe open
                    return None
                continue
            if event is None or event["event"] == "result":
                return event and event["result"]
            if event["event"] == "error":
                raise Failed(event["result"])
            if event["event"] == "warm":
                deadline = time.monotonic() + seconds + GRACE_SECONDS
                why = f"it was warm, but did not measure for {seconds:g} s within {seconds + GRACE_SECONDS:g} s"
            self._look(event["event"])

    def _look(self, event: str) -> None:
        """What there is to see when an event arrives."""
        self._phase = event
        if event in ("warm", "measured"):  # after the latter comes its end
            self.inodes |= self.family.shm_inodes()
        self._sample()

    def _sample(self) -> None:
        if not self.memory or self._phase not in ("open", "warm"):
            return
        size = self.family.pss_bytes()
        self.peak = max(self.peak, size)
        if self._phase == "warm":
            self.warm = max(self.warm, size)

    def _read(self) -> None:
        """Pass the child's lines on; None when it has closed its end, as it does when it ends."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)


def _clear_up(before: Mapping[str, int], inodes: set[int]) -> list[str]:
    """Remove the names that are new in /dev/shm and were the child's; others' are left alone."""
    new = {name for name, inode in processes.shm_names().items() if inode in inodes and before.get(name) != inode}
    left = processes.remove(new)
    if left:
        shown = f"{' '.join(left[:5])}{' ...' if len(left) > 5 else ''}"
        print(f"  it has left {len(left)} names in /dev/shm, removed now: {shown}", file=sys.stderr)
    return left


def _last_line(complaints: IO[str], code: int) -> str:
    lines = complaints.read().strip().splitlines()
    return lines[-1].strip() if lines else f"exit status {code}"
