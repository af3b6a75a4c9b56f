"""What a program has done about signals before it begins: blocked, ignored, or set to end it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]

HEAD = """
import contextlib, ctypes, logging, os, pathlib, signal, sys, time
import numpy as np
import psutil
from datarax_mp import Pipeline, WorkerTimeoutError
from datarax_mp.monitoring.memory import tree_memory
from datarax_mp.testing import kill_workers

told = []
handler = logging.Handler()
handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger("datarax_mp").addHandler(handler)

def dies_once(how):
    marker = pathlib.Path(f"died-{how}").absolute()
    def stage(record):
        if record == 30 and not marker.exists():
            marker.touch()
            if how == "segv":
                ctypes.string_at(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return {"n": record}
    return stage

def numbers(pipeline):
    with pipeline:
        return [n for batch in pipeline for n in batch["n"].tolist()]
"""


def test_a_blocked_mask_and_an_ignored_sigchld_do_not_reach_the_workers(run_script: Run) -> None:
    run_script(
        HEAD
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for how, words in (("kill", "SIGKILL(-9)"), ("segv", "SIGSEGV(-11)")):
    told.clear()
    pipeline = Pipeline(source=np.arange(60), batch_size=4, num_workers=2, stages=[dies_once(how)], output="numpy")
    assert numbers(pipeline) == list(range(60))
    assert words in told[0], told
assert "in stage" in told[0], told  # the stack of the crash

blocked = Pipeline(source=np.arange(4), batch_size=2, num_workers=1, output="numpy",
                   stages=[lambda n: {"n": len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}])
assert numbers(blocked) == [0] * 4

stuck = Pipeline(source=np.arange(4), batch_size=2, num_workers=1, output="numpy", timeout=3,
                 stages=[lambda n: {"n": time.sleep(1000) if n == 2 else n}])
try:
    list(stuck)
except WorkerTimeoutError as error:
    assert "most recent call first" in str(error), error
else:
    raise AssertionError
stuck.close()
"""
    )


def test_a_sigpipe_that_would_end_the_program_is_never_raised(run_script: Run) -> None:
    run_script(
        HEAD
        + """
def end_nursery():
    [nursery] = [psutil.Process(process.pid) for process in tree_memory().of("nursery")]
    nursery.kill()
    with contextlib.suppress(psutil.NoSuchProcess):  # it has been reaped
        while nursery.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.005)

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
pipeline = Pipeline(source=np.arange(60), batch_size=4, num_workers=2, stages=[dies_once("kill")], output="numpy")
assert numbers(pipeline) == list(range(60))
pipeline = Pipeline(source=np.arange(60), batch_size=4, num_workers=2, output="numpy")
for kill_nursery in (False, True):
    assert len(kill_workers()) == (0 if kill_nursery else 2)
    if kill_nursery:
        end_nursery()
    assert [n for batch in pipeline for n in batch["value"].tolist()] == list(range(60))
    iterator = iter(pipeline)
    next(iterator)
    assert len(kill_workers()) == 2
    iterator.close()  # which tells them something
pipeline.close()
print("alive")
""",
    ).stdout.endswith("alive\n")
