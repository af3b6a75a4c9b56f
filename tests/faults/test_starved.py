"""What a process needs runs out at the n-th time it asks for it, for every n until a pipeline has run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

BEGIN = """
import errno, gc, logging, mmap, os, signal, socket, subprocess, sys, threading
import numpy as np
import psutil
from datarax_mp import Pipeline, SharedMemoryError, WorkerError
from datarax_mp.crews.processes.pool import pool

logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("datarax_mp").addHandler(handler)

def make(workers=2, stage=lambda record: {"n": record}, **more):
    return Pipeline(source=np.arange(40), batch_size=4, num_workers=workers, stages=[stage], output="numpy", **more)

def numbers(pipeline):
    return [n for batch in pipeline for n in batch["n"].tolist()]
"""

# Each fails with what the system raises there.
KINDS = {
    "socket.socketpair": "OSError(errno.EMFILE, 'Too many open files')",
    "os.pipe": "OSError(errno.EMFILE, 'Too many open files')",
    "os.open": "OSError(errno.EMFILE, 'Too many open files')",
    "os.ftruncate": "OSError(errno.EFBIG, 'File too large')",
    "os.posix_fallocate": "OSError(errno.ENOMEM, 'Cannot allocate memory')",
    "mmap.mmap": "OSError(errno.ENOMEM, 'Cannot allocate memory')",
    "subprocess._fork_exec": "OSError(errno.EAGAIN, 'Resource temporarily unavailable')",
}

NTH = """
place, _, name = "{kind}".rpartition(".")
owner = eval(place)
whole = getattr(owner, name)
left = 0

def failing(*arguments, **more):
    global left
    left -= 1
    if left == 0:
        raise {error}
    return whole(*arguments, **more)

numbers(make())
outcomes = []
for nth in range(1, 60):
    pool().close()
    gc.collect()
    before = psutil.Process().num_fds()
    left = nth
    setattr(owner, name, failing)
    try:
        with make() as pipeline:
            assert numbers(pipeline) == list(range(40))
        outcomes.append("works")
    except (WorkerError, OSError) as error:
        assert len(str(error)) > 60, repr(error)  # not the system's three words
        outcomes.append("says so")
        del error
    finally:
        setattr(owner, name, whole)
        pipeline = None
    reached = left <= 0
    pool().close()
    gc.collect()
    assert psutil.Process().num_fds() <= before, (nth, before)
    assert psutil.Process().children(recursive=True) == []
    if nth < 3:
        assert numbers(make()) == list(range(40))  # the next try
    if not reached:
        break
else:
    raise AssertionError("it never comes to an end")
assert outcomes[-1] == "works", outcomes
assert len(outcomes) > 1, outcomes
"""


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_at_any_time_is_a_clear_error_and_the_next_try_works(
    kind: str, run_script: Callable[..., Any]
) -> None:
    run_script(BEGIN + NTH.replace("{kind}", kind).replace("{error}", KINDS[kind]))


# Found by the interpreter that becomes the nursery, and by no other: main has begun when the folder is named.
NURSERY_SITE = """
import errno, os
whole, forks = os.fork, 0

def fork():
    global forks
    forks += 1
    if eval(os.environ["FAIL_FORKS"]):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return whole()

if "FAIL_FORKS" in os.environ:
    os.fork = fork
"""


@pytest.fixture
def site(tmp_path: Path) -> str:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NURSERY_SITE)
    return f"os.environ['PYTHONPATH'] = {str(tmp_path / 'site')!r}\n"


def test_a_fork_that_is_refused_is_an_error_that_says_so_and_the_next_try_works(
    run_script: Callable[..., Any], site: str
) -> None:
    code = """
for nth in (1, 2, 3):
    pool().close()
    os.environ["FAIL_FORKS"] = f"forks >= {nth}"
    try:
        with make(3) as pipeline:
            numbers(pipeline)
    except WorkerError as error:
        assert "no more processes or threads are allowed" in str(error) and "ulimit -u" in str(error), error
    else:
        raise AssertionError
    [nursery] = psutil.Process().children()
    psutil.wait_procs(nursery.children(), timeout=10)
    assert nursery.children() == []
    del os.environ["FAIL_FORKS"]
pool().close()
assert numbers(make(3)) == list(range(40))
"""
    run_script(BEGIN + site + code)


@pytest.mark.parametrize("moment", ["at the first record", "later"])
def test_an_epoch_that_others_can_do_does_not_end_with_a_replacement_that_cannot_be_started(
    moment: str, run_script: Callable[..., Any], site: str
) -> None:
    code = """
def dies(record):
    if record == {record} and not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"n": record}

os.environ["FAIL_FORKS"] = "forks >= 3"
with make(2, dies) as pipeline:
    assert numbers(pipeline) == list(range(40))
assert "1 workers go on without another one" in logged[1], logged
"""
    run_script(BEGIN + site + code.replace("{record}", "0" if moment == "at the first record" else "17"))


def test_auto_makes_do_with_the_workers_that_can_be_started(run_script: Callable[..., Any], site: str) -> None:
    code = """
import time
def slow(record):
    time.sleep(0.01)
    return {"n": record}

os.environ["FAIL_FORKS"] = "forks == 2 or forks > 3"
with Pipeline(source=np.arange(40), batch_size=4, num_workers="auto", workers="processes", stages=[slow]) as pipeline:
    for _ in range(3):
        assert numbers(pipeline) == list(range(40))
"""
    run_script(BEGIN + site + code)


FORKS = """
import os, sys, threading, time
import numpy as np
from datarax_mp import Pipeline

going = True

def fork_all_the_time():
    while going:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
        time.sleep(0.05)

forks = threading.Thread(target=fork_all_the_time)
forks.start()
pipeline = Pipeline(source=np.arange(4000), batch_size=2, num_workers=3, output="numpy")
iterator = iter(pipeline)
next(iterator)
going = False
forks.join()
print("ready", flush=True)
sys.stdin.read()
"""


def test_processes_that_the_user_forks_while_workers_start_keep_none_alive_when_main_is_killed(
    tmp_path: Path, family: Any
) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKS)
    main = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=family.env
    )
    assert main.stdout is not None
    assert main.stdout.readline() == b"ready\n"

    def ours() -> list[psutil.Process]:
        found = []
        for process in family.alive():
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                if "datarax_mp.crews.processes.nursery" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    try:
        assert len(ours()) == 4
        main.send_signal(signal.SIGKILL)
        main.wait(20)
        deadline = time.monotonic() + 20
        while left := ours():
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
    finally:
        for process in family.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        main.communicate()


# Such a limit counts for users other than root. This one keeps the right to read files, so that it finds Python.
ANOTHER_USER = """
import ctypes, os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # others count, too, and there are as many as cores
USER = 54321 + os.getpid() % 10000  # nobody else's: tests beside this one have processes that would count

def become_another_user():
    call = ctypes.CDLL(None, use_errno=True)
    keep, reads = 8, (1, 2)  # PR_SET_KEEPCAPS; CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    call.prctl(keep, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    bits = sum(1 << number for number in reads)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # the version of the interface, and this process
    if call.capset(header, (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capset")
    for number in reads:  # for the programs that this one starts, too
        if call.prctl(47, 2, number, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_CAP_AMBIENT_RAISE")

become_another_user()
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs the right to become another user")
@pytest.mark.parametrize(("limit", "enough"), [(1, False), (4, False), (12, True)])
def test_a_user_who_may_have_few_processes_is_told_so(limit: int, enough: bool, run_script: Callable[..., Any]) -> None:
    run_script(
        ANOTHER_USER
        + BEGIN
        + f"""
import resource
resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))  # not before NumPy has its threads
for attempt in range(2):
    try:
        with make(4) as pipeline:
            assert numbers(pipeline) == numbers(pipeline) == list(range(40))
        outcome = True
    except WorkerError as error:
        assert "the user's limit is {limit} (ulimit -u)" in str(error), error
        outcome = False
    assert outcome is {enough}
    with make(0) as pipeline:
        assert numbers(pipeline) == list(range(40))
"""
    )
