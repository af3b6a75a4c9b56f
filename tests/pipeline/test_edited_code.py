"""The next epoch runs the code that main has now: after a reload, after an edit, with warm workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.machine import without_the_machine

# ``version(n)`` writes a module whose functions and class give n.
PRELUDE = """
import importlib, os, sys, time
from datarax_mp import Pipeline

sys.path.insert(0, os.getcwd())

def version(number, name="mine"):
    with open(name + ".py", "w") as file:
        file.write(f'''
NUMBER = {number}
def stage(record):
    return {{"x": NUMBER * 10 + inner()}}
def inner():
    return {number}
class Source:
    def __len__(self):
        return 6
    def __getitem__(self, number):
        return {{"x": {number}}}
''' + "#" * number)

def numbers(pipeline):
    found = {int(record["x"]) for record in pipeline}
    assert len(found) == 1, found
    return found.pop()

def pipeline(stages=(), source=None, workers=2):
    return Pipeline(source=source or list(range(6)), batch_size=2, num_workers=workers, stages=list(stages),
                    output="numpy", enforce_batch=False)

version(1)
import mine
"""


def test_after_a_reload_every_pipeline_has_the_new_code(run_script: Callable[..., Any]) -> None:
    run_script(
        PRELUDE
        + """
through = lambda record: mine.stage(record)
for workers in (0, 2):
    version(1); importlib.reload(mine)
    old_stage, old_source = mine.stage, mine.Source()
    pipelines = [pipeline([through], workers=workers), pipeline([old_stage], workers=workers),
                 pipeline(source=old_source, workers=workers)]
    assert [numbers(p) for p in pipelines] == [11, 11, 1]
    version(2); importlib.reload(mine)
    # As Python has it: the function that was kept has its old body and sees the new globals, the object its old class.
    assert [numbers(p) for p in pipelines] == [22, 22, 1], [numbers(p) for p in pipelines]
    new = [pipeline([through], workers=workers), pipeline([mine.stage], workers=workers),
           pipeline(source=mine.Source(), workers=workers)]
    assert [numbers(p) for p in new] == [22, 22, 2]
"""
    )


def test_a_module_that_another_one_imports_counts_too(run_script: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text("import mine\ndef stage(record):\n    return mine.stage(record)\n")
    run_script(
        PRELUDE
        + """
import outer
p = pipeline([outer.stage])
assert numbers(p) == 11
version(2); importlib.reload(mine)
assert numbers(p) == 22
assert numbers(pipeline([outer.stage])) == 22
"""
    )


def test_a_file_that_was_edited_and_not_reloaded_changes_nothing_until_it_is(run_script: Callable[..., Any]) -> None:
    run_script(
        PRELUDE
        + """
from datarax_mp.crews.processes.pool import pool
for workers in (0, 2):
    version(1); importlib.reload(mine)
    p = pipeline([mine.stage], workers=workers)
    assert numbers(p) == 11
    version(2)                          # an editor, or git, while the training goes on
    assert numbers(p) == 11
    pool().close()                      # and also in workers that start only now
    assert numbers(p) == 11
    assert numbers(pipeline([mine.stage], source=mine.Source(), workers=workers)) == 11
    importlib.reload(mine)
    assert numbers(pipeline([mine.stage], workers=workers)) == 22
"""
    )


def test_what_cannot_be_sent_as_main_has_it_is_imported_as_it_is_with_a_warning(
    run_script: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "locked.py").write_text(
        "import threading\nLOCK = threading.Lock()\ndef stage(record):\n    with LOCK:\n        return {'x': 1}\n"
    )
    done = run_script(
        PRELUDE
        + """
import locked
assert numbers(pipeline([locked.stage])) == 1
import pathlib
pathlib.Path("locked.py").write_text(pathlib.Path("locked.py").read_text().replace("1", "22"))
assert numbers(pipeline([locked.stage])) == 22
""",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *_ = without_the_machine(done.stderr.splitlines())
    assert first.startswith("edited since they were imported: locked. This process still runs the old code")


def test_a_module_that_only_workers_import_is_imported_anew_by_the_next_pipeline(
    run_script: Callable[..., Any],
) -> None:
    run_script(
        PRELUDE
        + """
def stage(record):
    import theirs
    return theirs.stage(record)

version(1, "theirs")
assert numbers(pipeline([stage])) == 11
version(2, "theirs")
assert numbers(pipeline([stage])) == 22
assert "theirs" not in sys.modules
import theirs
assert numbers(pipeline([stage])) == 22
"""
    )


def test_workers_stay_as_long_as_the_code_does(run_script: Callable[..., Any]) -> None:
    run_script(
        PRELUDE
        + """
def pids():
    return {int(r["x"]) for r in pipeline([lambda record: {"x": os.getpid()}, lambda record: {**record, **{}}])}
first = pids()
assert numbers(pipeline([mine.stage])) == 11
assert len(pids() | first) <= 2
version(2); importlib.reload(mine)
assert not pids() & first
"""
    )


def test_what_autoreload_does_in_a_notebook(run_script: Callable[..., Any]) -> None:
    # Until IPython 9.1 it reloads the module and gives old functions the new code; since then, where it can, it only
    # gives functions their new code.
    run_script(
        PRELUDE
        + """
stage = mine.stage                       # from mine import stage
warm = pipeline([stage])
assert numbers(warm) == 11
version(2)
importlib.reload(mine)
stage.__code__ = mine.stage.__code__
assert numbers(warm) == 22
assert numbers(pipeline([stage])) == numbers(pipeline([stage], workers=0)) == 22

version(3)
new = {}
exec(compile(open("mine.py").read(), "mine.py", "exec"), new)
mine.inner.__code__ = new["inner"].__code__
assert numbers(pipeline([mine.stage], workers=0)) == 23
assert numbers(pipeline([mine.stage])) == 23
""".replace('open("mine.py").read()', "__import__('pathlib').Path('mine.py').read_text()")
    )
