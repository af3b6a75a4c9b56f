"""Whose a name in /dev/shm is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from datarax_mp.ring.names import start_time


@pytest.mark.needs("proc")
def test_when_a_process_began_is_known_whatever_it_is_called() -> None:
    name = "обучение модели"  # of which the system keeps 15 bytes: seven letters and a half
    code = f"import ctypes; ctypes.CDLL(None).prctl(15, {name!r}.encode()); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert int(start_time(process.pid)) >= int(start_time(os.getpid()))
        process.communicate(b"\n")
    assert start_time(process.pid) == ""
