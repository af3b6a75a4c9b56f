"""Scripts as people write them: no guard, on standard input, in a notebook cell, interrupted, ending in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MARK = 'with open("main-runs", "a") as runs:\n    runs.write("ran\\n")\n'

SCRIPT = (
    MARK
    + """
import os, sys
import numpy as np
from datarax_mp import MapElement, Pipeline, RandomMapElement

OFFSET = 5

class Dataset:
    def __len__(self):
        return 60
    def __getitem__(self, number):
        return {"x": number, "tag": Tag(number)}

class Tag:
    def __init__(self, number):
        self.number = number

class Stage:
    def __call__(self, record):
        return {**record, "y": record["x"] + OFFSET, "main": Dataset.__module__ == __name__}

def helper(value):
    return value * 2

def stage(record):
    return {**record, "z": helper(record["x"]), "pid": os.getpid(), "jax": "jax" in sys.modules}

stages = [Stage(), stage, lambda record: {**record, "w": -record["x"]}, MapElement(stage)]
pipeline = Pipeline(source=Dataset(), batch_size=8, num_workers=2, stages=stages)
seen = 0
for batch in pipeline:
    x = np.asarray(batch["x"])
    assert (np.asarray(batch["y"]) == x + 5).all()
    assert (np.asarray(batch["z"]) == 2 * x).all()
    assert (np.asarray(batch["w"]) == -x).all()
    assert (np.asarray(batch["pid"]) != os.getpid()).all()
    assert not np.asarray(batch["jax"]).any()
    assert [item.source_info["tag"].number for item in batch.metadata] == x.tolist()
    assert isinstance(batch.metadata[0].source_info["tag"], Tag)
    seen += len(x)
assert seen == 60

records = [{"x": n, "tag": Tag(n)} for n in range(20)]
assert sum(batch.batch_size for batch in Pipeline(source=records, batch_size=6, num_workers=2)) == 20
print("done")
"""
)


# The same without Batches, and so without the seconds that importing JAX takes.
LIGHT = (
    MARK
    + """
import os
from datarax_mp import Pipeline

OFFSET = 5

class Dataset:
    def __len__(self):
        return 60
    def __getitem__(self, number):
        return {"x": number}

def helper(value):
    return value + OFFSET

def stage(record):
    return {**record, "y": helper(record["x"]), "pid": os.getpid()}

stages = [stage, lambda record: {**record, "w": -record["x"]}]
pipeline = Pipeline(source=Dataset(), batch_size=8, num_workers=2, stages=stages, output="numpy", enforce_batch=False)
elements = list(pipeline)
assert [int(element["x"]) for element in elements] == list(range(60))
assert all(int(element["y"]) == int(element["x"]) + 5 == 5 - int(element["w"]) for element in elements)
assert os.getpid() not in {int(element["pid"]) for element in elements}
print("done")
"""
)


def test_a_script_without_a_guard_defines_its_stages_itself_and_is_run_once(run_script: Any, tmp_path: Any) -> None:
    assert run_script(SCRIPT).stdout == "done\n"
    assert (tmp_path / "main-runs").read_text() == "ran\n"


def test_so_does_a_script_on_standard_input(run_script: Any, tmp_path: Any) -> None:
    assert run_script(LIGHT, stdin=True).stdout == "done\n"
    assert (tmp_path / "main-runs").read_text() == "ran\n"


def test_so_does_a_notebook_cell(run_script: Any, tmp_path: Any) -> None:
    notebook = (
        "import __main__\n"
        "cells = [" + repr(LIGHT) + ", 'for element in pipeline: break', 'next(iter(pipeline)); print(1)']\n"
        "for number, cell in enumerate(cells):\n"
        "    exec(compile(cell, f'<cell {number}>', 'exec'), __main__.__dict__)\n"
    )
    assert run_script(notebook).stdout == "done\n1\n"
    assert (tmp_path / "main-runs").read_text() == "ran\n"


# Each of these ends with a pipeline that is alive in some way.
ENDS = {
    "exhausted": "list(pipeline)",
    "break": "for batch in pipeline: break",
    "iterator in a global": "iterator = iter(pipeline); next(iterator)",
    "in a generator": "def batches():\n    yield from pipeline\ng = batches(); next(g)",
    "in a cycle": "class C: pass\nc = C(); c.c = c; c.iterator = iter(pipeline); next(c.iterator); del c",
    "closed twice": "iter(pipeline); pipeline.close(); pipeline.close()",
    "with": "with pipeline:\n    next(iter(pipeline))",
    "kept batches": "kept = list(pipeline)",
    "never iterated": "pass",
    "busy workers": "iterator = iter(slow)",
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_of_a_program_is_silent_and_leaves_nothing(name: str, run_script: Callable[..., Any]) -> None:
    code = (
        "import numpy as np, time\n"
        "from datarax_mp import Pipeline\n"
        "data = np.zeros((400, 50, 50), np.float32)\n"
        "options = dict(batch_size=4, num_workers=2, output='numpy', enforce_batch=False)\n"
        "pipeline = Pipeline(source=data, **options)\n"
        "calls = []\n"
        "def wait(record):\n"
        "    if calls: time.sleep(1000)\n"
        "    calls.append(1)\n"
        "    return record\n"
        "slow = Pipeline(source={'value': data}, stages=[wait], **options)\n"
    )
    run_script(code + ENDS[name])


def test_a_generator_that_python_ends_only_after_its_modules_is_silent_too(run_script: Callable[..., Any]) -> None:
    run_script(
        "from datarax_mp import Pipeline\n"
        "pipeline = Pipeline(source={'n': range(100)}, batch_size=4, num_workers=2, output='numpy')\n"
        "def batches():\n"
        "    while True:\n"
        "        yield from pipeline\n"
        "endless = batches()\n"
        "next(endless)\n"
    )


def test_an_exception_in_the_loop_and_an_exit_code_are_as_ever(run_script: Callable[..., Any]) -> None:
    begin = (
        "import sys\nfrom datarax_mp import Pipeline\n"
        "pipeline = Pipeline(source=list(range(99)), batch_size=4, num_workers=2, "
        "enforce_batch=False, output='numpy')\n"
    )
    done = run_script(begin + "for batch in pipeline: 1 / 0", check=False)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert run_script(begin + "for batch in pipeline: sys.exit(7)", check=False).returncode == 7


def test_a_forked_child_of_the_user_neither_ends_nor_keeps_our_processes(run_script: Callable[..., Any]) -> None:
    run_script(
        "import os, sys\n"
        "from datarax_mp import Pipeline\n"
        "pipeline = Pipeline(source=list(range(99)), batch_size=4, num_workers=2, "
        "enforce_batch=False, output='numpy')\n"
        "iterator = iter(pipeline)\n"
        "first = next(iterator)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(5)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5\n"
        "assert [int(e['value']) for e in [first, *iterator]] == list(range(99))\n"
    )


def test_a_forked_child_can_iterate_the_pipeline_anew_and_is_told_that_an_iterator_is_the_parents(
    run_script: Callable[..., Any],
) -> None:
    done = run_script(
        "import os, sys\n"
        "import numpy as np\n"
        "from datarax_mp import Pipeline\n"
        "pipeline = Pipeline(source=np.arange(4000), batch_size=4, num_workers=2, output='numpy', "
        "enforce_batch=False)\n"
        "def epoch(): return [int(element['value']) for element in pipeline]\n"
        "assert epoch() == list(range(4000))\n"
        "iterator = iter(pipeline)\n"
        "first = next(iterator)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        next(iterator)\n"
        "    except RuntimeError as error:\n"
        "        print(str(error).replace(str(os.getppid()), 'A').replace(str(os.getpid()), 'B'), flush=True)\n"
        "    assert epoch() == list(range(4000))\n"
        "    pipeline.close()\n"
        "    sys.exit(5)\n"
        "assert [int(e['value']) for e in [first, *iterator]] == list(range(4000))\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5\n"
        "assert epoch() == list(range(4000))\n"
    )
    assert done.stdout.startswith("this iterator belongs to process A, and process B was forked from it")


def test_what_outlives_the_modules_at_the_interpreters_end_says_nothing(run_script: Callable[..., Any]) -> None:
    run_script(
        """
import atexit
import builtins
from datarax_mp.ring import Segment
from datarax_mp.crews.processes.spawner import Spawner
from datarax_mp.core.waker import Waker

# What builtins hold goes last of all, when the modules have been emptied; and no pool knows of these workers.
spawner = Spawner()
atexit.register(spawner.close)
builtins.held = Segment.create(4096, "a test", ""), Waker(), spawner.spawn(2)
spawner.finish(builtins.held[2])
"""
    )
