"""File descriptors: too many, too few, closed by others, and who gets them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datarax_mp.core import descriptors

USE = """
import gc, os, resource, sys
import numpy as np
from datarax_mp import Pipeline, SharedMemoryError, WorkerError

PRINTS = False

def make(workers=2):
    return Pipeline(source=np.arange(40), batch_size=4, num_workers=workers, output="numpy", stages=[stage])

def stage(record):
    if PRINTS:
        print("a stage prints", record)
    return {"n": record}

def numbers(pipeline):
    return [n for batch in pipeline for n in batch["n"].tolist()]
"""


def test_more_than_1024_open_files_before_the_first_pipeline_do_not_matter(run_script: Callable[..., Any]) -> None:
    code = """
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
with make() as pipeline:
    assert numbers(pipeline) == numbers(pipeline) == list(range(40))
"""
    run_script(USE + code)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_none_of_ours_lands_on_a_standard_descriptor_that_is_closed(closed: str, tmp_path: Path) -> None:
    code = """
def standard():
    found = []
    for number in range(3):
        try:
            found.append(os.fstat(number).st_ino)
        except OSError:
            found.append(None)
    return found

before = standard()
PRINTS = True
try:
    with make() as pipeline:
        assert numbers(pipeline) == list(range(40))
        assert standard() == before
        print("main prints")
        assert numbers(pipeline) == list(range(40))
    result = "as it should be"
except BaseException as error:
    import traceback
    result = traceback.format_exc()
with open("result", "w") as file:
    file.write(result)
"""
    (tmp_path / "script.py").write_text(USE + code)
    command = f'exec "$0" -W error script.py {closed}'
    subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=tmp_path,
        check=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert (tmp_path / "result").read_text() == "as it should be"


@pytest.mark.needs("proc")
def test_too_few_descriptors_are_an_error_that_says_so_and_nothing_is_left(run_script: Callable[..., Any]) -> None:
    code = """
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
def count():
    return len(os.listdir("/proc/self/fd"))
numbers(make(0))  # whatever is imported late
outcomes = set()
for spare in (0, 1, 4, 6, 8, 10, 12, 14, 15, 16, 40):
    from datarax_mp.crews.processes.pool import pool
    pool().close()
    gc.collect()
    before = count()
    resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + spare, hard))  # one was the listing's own
    try:
        with make() as pipeline:
            assert numbers(pipeline) == list(range(40))
        outcomes.add("works")
    except (WorkerError, OSError) as error:
        assert "no more file descriptors" in str(error), (spare, repr(error))
        assert "ulimit -n" in str(error), repr(error)
        outcomes.add("says so")
        del error
    finally:
        pipeline = None
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    pool().close()
    gc.collect()
    assert count() <= before, spare
    if spare in (4, 12):
        assert numbers(make()) == list(range(40))  # the next try works
assert outcomes == {"works", "says so"}
"""
    run_script(USE + code)


def test_other_code_that_closes_what_it_does_not_know_costs_workers_but_no_batch(
    run_script: Callable[..., Any],
) -> None:
    code = """
with make() as pipeline:
    assert numbers(pipeline) == list(range(40))
    os.closerange(3, 300)
    theirs = [os.open(f"file-{n}", os.O_RDWR | os.O_CREAT) for n in range(40)]  # under the numbers that were ours
    for descriptor in theirs:
        os.write(descriptor, b"theirs")
    for _ in range(2):
        try:
            assert numbers(pipeline) == list(range(40))
        except (WorkerError, SharedMemoryError) as error:
            assert "other code" in str(error), repr(error)
        else:
            break
    else:
        raise AssertionError("it never works again")
for n in range(len(theirs)):
    assert os.path.getsize(f"file-{n}") == 6
"""
    run_script(USE + code)


AUDIT = """
import psutil
def inherited(pid):
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            with open(f"/proc/{pid}/fdinfo/{number}") as file:
                flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
            if int(number) > 2 and not flags & os.O_CLOEXEC:
                found.append((number, os.readlink(f"/proc/{pid}/fd/{number}")))
        except FileNotFoundError:
            continue
    return found

theirs = set(number for number, _ in inherited("self"))
with make(3) as pipeline:
    iterator = iter(pipeline)
    next(iterator)
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert len(tree) == 5
    for process in tree:
        found = [(number, name) for number, name in inherited(process.pid) if number not in theirs]
        assert not found, (process, found)
"""


@pytest.mark.needs("proc")
def test_every_descriptor_of_every_process_is_closed_by_exec(run_script: Callable[..., Any]) -> None:
    run_script(USE + AUDIT)


@pytest.mark.needs("proc")
def test_a_subprocess_that_a_source_starts_gets_nothing_of_ours(run_script: Callable[..., Any]) -> None:
    code = """
import subprocess
def stage(record):
    listing = subprocess.run(["ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout.split()
    return {"n": record, "count": len(listing)}
expected = len(subprocess.run(["ls", "/proc/self/fd"], close_fds=True, capture_output=True, text=True).stdout.split())
with make() as pipeline:
    for batch in pipeline:
        assert (batch["count"] == expected).all(), (batch["count"], expected)
"""
    run_script(USE + code)


def test_a_pipe_and_a_connection_stay_clear_of_the_standard_descriptors(run_script: Callable[..., Any]) -> None:
    code = """
import os
from datarax_mp.core.descriptors import connection, pipe
os.close(0), os.close(1)
ends = connection()
made = [*pipe(), *(end.fileno() for end in ends)]
os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
assert min(made) > 2, made
assert not any(os.get_inheritable(number) for number in made)
for end in ends:
    end.close()
"""
    run_script(code)


def test_readable_takes_any_number_of_descriptor() -> None:
    import os
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("needs the right to have more than 2,000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    read, write = os.pipe()
    try:
        os.dup2(read, 2000)
        assert descriptors.readable([2000], 0) == []
        os.write(write, b"x")
        assert descriptors.readable([2000], 5) == [2000]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in (read, write, 2000):
            os.close(descriptor)
