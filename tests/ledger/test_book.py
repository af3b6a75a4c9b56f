"""The file of a ledger while pipelines write to it: in force is what the user has received, whatever happens."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datarax_mp.ledger.book
import datarax_mp.pipeline.iterator
from datarax_mp import Pipeline, ShardOptions
from datarax_mp.ledger.compare import compare
from datarax_mp.ledger.reading import read
from tests.lines import AtLine, Lines

LENGTH = 20
FILES = {datarax_mp.pipeline.iterator.__file__, datarax_mp.ledger.book.__file__}


def pipeline(path: Path, **options: Any) -> Pipeline[Any]:
    settings = {"batch_size": 3, "shuffle": True, "seed": 5, "output": "numpy", **options}
    return Pipeline(source={"x": np.arange(LENGTH)}, ledger=path, **settings)


def steps(path: Path) -> list[tuple[int, int, int]]:
    """Epoch, step and rows of what is in force."""
    return sorted((given.entry.epoch, given.entry.step, given.entry.rows) for given in read(str(path)).given.values())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


@pytest.mark.parametrize("workers", [0, 2])
def test_there_is_a_line_for_every_batch_that_was_received_and_for_no_other(path: Path, workers: int) -> None:
    with pipeline(path, num_workers=workers, prefetch_size=3) as batches:
        iterator = iter(batches)
        for received in range(5):
            assert len(steps(path)) == received
            next(iterator)
    assert steps(path) == [(0, step, 3) for step in range(5)]


def test_looking_at_a_batch_leaves_no_line(path: Path) -> None:
    with pipeline(path) as batches:
        batches.at(1, 2)
    assert path.read_bytes() == b""


def test_batches_that_come_several_in_one_array_have_a_line_each(path: Path) -> None:
    with pipeline(path) as batches:
        stacks = batches.stacked(4)
        next(stacks)
        assert steps(path) == [(0, step, 3) for step in range(4)]
        next(stacks)
        assert steps(path) == [(0, step, 3) for step in range(6)]
        batches.step(), batches.step()
    assert steps(path) == [(0, step, 3) for step in range(6)] + [(0, 6, 2), (1, 0, 3)]


def test_a_run_that_goes_on_from_a_state_goes_on_in_the_file(path: Path) -> None:
    with pipeline(path) as before:
        iterator = iter(before)
        for _ in range(4):
            next(iterator)
        state = before.get_state()
        next(iterator), next(iterator)  # the process dies; nobody has a state of these
    with pipeline(path, num_workers=2) as after:
        after.set_state(state)
        iterator = iter(after)
        assert steps(path) == [(0, step, 3) for step in range(4)]
        next(iterator)
        assert steps(path) == [(0, step, 3) for step in range(5)]
        for _ in iterator:
            pass
    assert steps(path) == [(0, step, 3 if step < 6 else 2) for step in range(7)]


def test_an_elastic_resume_goes_on_in_the_file_too(path: Path) -> None:
    with pipeline(path) as before:
        iterator = iter(before)
        for _ in range(4):
            next(iterator)
        state = before.get_state()
        next(iterator)
    with pipeline(path, batch_size=4) as after:
        after.set_state(state, elastic=True)
        for _ in after:
            pass
    entries = [given.entry for _, given in sorted(read(str(path)).given.items())]
    assert [(entry.place, entry.rows) for entry in entries] == [(0, 3), (3, 3), (6, 3), (9, 3), (12, 4), (16, 4)]


def test_an_iterator_that_is_set_back_voids_what_comes_later(path: Path) -> None:
    with pipeline(path) as batches:
        iterator = iter(batches)
        next(iterator)
        state = iterator.get_state()
        next(iterator), next(iterator)
        iterator.set_state(state)
        assert steps(path) == [(0, 0, 3)]
        next(iterator)
    assert steps(path) == [(0, 0, 3), (0, 1, 3)]


def test_two_iterators_at_once_do_not_void_each_other(path: Path) -> None:
    with pipeline(path, drop_last=True) as batches:
        for _ in zip(iter(batches), iter(batches), strict=True):
            pass
    assert steps(path) == [(epoch, step, 3) for epoch in range(2) for step in range(6)]


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_is_mended(path: Path, cut: int) -> None:
    with pipeline(path) as before:
        iterator = iter(before)
        for _ in range(3):
            next(iterator)
    os.truncate(path, path.stat().st_size - cut)
    assert steps(path) == [(0, 0, 3), (0, 1, 3)]
    with pipeline(path) as after:
        state = json.loads(json.dumps(after.get_state()))
        after.set_state({**state, "step": 2})
        next(iter(after))
    assert steps(path) == [(0, 0, 3), (0, 1, 3), (0, 2, 3)]


TRAINING = """
import json, os, sys
import numpy as np
from datarax_mp import Pipeline

folder, most = sys.argv[1], int(sys.argv[2])
pipeline = Pipeline(source={"x": np.arange(300)}, batch_size=3, shuffle=True, seed=5, output="numpy", num_workers=1,
                    ledger=folder + "/killed.ledger")
state = folder + "/state.json"
if os.path.exists(state):
    pipeline.set_state(json.load(open(state)))
for step, batch in enumerate(pipeline):
    if step % 7 == 0:
        with open(state + ".new", "w") as file:
            json.dump(pipeline.get_state(), file)
        os.rename(state + ".new", state)
    if step == most:
        os.kill(os.getpid(), 9)
"""


def test_a_run_that_is_killed_again_and_again_leaves_the_ledger_of_one_that_is_not(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    for most in (20, 40, 1000):
        done = subprocess.run([sys.executable, str(script), str(tmp_path), str(most)], timeout=100, check=False)
    assert done.returncode == 0
    with Pipeline(
        source={"x": np.arange(300)}, batch_size=3, shuffle=True, seed=5, output="numpy", ledger=tmp_path / "whole"
    ) as whole:
        for _ in whole:
            pass
    found = compare(read(str(tmp_path / "killed.ledger")), read(str(tmp_path / "whole")))
    assert found.text == "100 steps are alike, from epoch 0, step 0 to epoch 0, step 99"


def test_two_pipelines_cannot_write_to_one_file(path: Path) -> None:
    with pipeline(path) as first, pipeline(path) as second:
        iterator = iter(first)
        next(iterator)
        with pytest.raises(ValueError, match=r"another pipeline writes to this file.*close\(\) the other"):
            iter(second)
        assert second.at(0, 0) == first.at(0, 0)  # whoever only looks may
        next(iterator)
        assert steps(path) == [(0, 0, 3), (0, 1, 3)]
        first.close()
        next(iter(second))


def test_a_forked_child_does_not_write_to_its_parents_file(path: Path, run_script: Callable[..., Any]) -> None:
    run_script(
        "import os\n"
        "import numpy as np\n"
        "from datarax_mp import Pipeline\n"
        f"pipeline = Pipeline(source=np.arange(20), batch_size=4, output='numpy', ledger={str(path)!r})\n"
        "next(iter(pipeline))\n"
        "if (child := os.fork()) == 0:\n"
        "    try:\n"
        "        iter(pipeline)\n"
        "    except ValueError as error:\n"
        "        os._exit(5 if 'this one was forked from it' in str(error) else 6)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5\n"
    )
    assert steps(path) == [(0, 0, 4)]


def test_several_epochs_as_one_stream_and_steps_left_out(path: Path) -> None:
    with pipeline(path, num_epochs=2, num_workers=2) as batches:
        batches.skip([1, 2], epoch=1)
        for _ in batches:
            pass
    expected = [(epoch, step, 3 if step < 6 else 2) for epoch in range(2) for step in range(7)]
    assert steps(path) == [one for one in expected if one[:2] not in {(1, 1), (1, 2)}]


def test_a_pipeline_that_is_dropped_lets_go_of_its_file(path: Path) -> None:
    batches = pipeline(path)
    next(iter(batches))
    del batches
    with pipeline(path) as another:
        next(iter(another))


def test_what_is_no_path_or_cannot_be_opened_is_an_error_when_the_pipeline_is_made(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="ledger must be the path of a file, got 3"):
        pipeline(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        pipeline(tmp_path / "missing" / "run.ledger")


def test_without_xxhash_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xxhash", None)
    monkeypatch.delitem(sys.modules, "datarax_mp.ledger.digests", raising=False)
    with pytest.raises(ImportError, match=r'pip install "datarax-mp\[ledger\]"'):
        pipeline(path)
    assert not path.exists()


def test_shards_have_lines_for_their_own_rows_also_where_there_are_none(tmp_path: Path) -> None:
    paths = [tmp_path / str(index) for index in range(2)]
    for index, path in enumerate(paths):
        with pipeline(path, shard=ShardOptions(index, 2), pad_last=True, batch_size=7) as batches:
            assert len(list(batches)) == 2
    assert [steps(path) for path in paths] == [[(0, 0, 7), (0, 1, 6)], [(0, 0, 7), (0, 1, 0)]]


def test_a_line_for_which_the_disk_has_no_room_is_an_error_and_void(path: Path) -> None:
    with pipeline(path) as batches:
        iterator = iter(batches)
        next(iterator)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, before[1]))
        try:
            with pytest.raises(OSError, match="50 of 105 bytes could be written|File too large"):
                next(iterator)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert steps(path) == [(0, 0, 3)]
        assert batches.get_state()["step"] == 1
        batches.set_state(batches.get_state())
        for _ in batches:
            pass
    assert [step for _, step, _ in steps(path)] == list(range(7))


LINES = Lines(in_frame=lambda frame: frame.f_code.co_filename in FILES, spares=lambda text: False)


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


def test_an_interrupt_at_any_line_of_next_leaves_the_lines_of_what_was_received(path: Path) -> None:
    for at in count(1):
        path.unlink(missing_ok=True)
        with pipeline(path, prefetch_size=1) as batches:
            iterator = iter(batches)
            received = [next(iterator)["x"].tolist()]
            try:
                with AtLine(at, interrupt, LINES):
                    received.append(next(iterator)["x"].tolist())
                    received.append(next(iterator)["x"].tolist())
            except KeyboardInterrupt:
                interrupted = True
            else:
                interrupted = False
            assert batches.get_state()["step"] == len(received)
            assert steps(path) == [(0, step, 3) for step in range(len(received))]
            batches.set_state(batches.get_state())
            for _ in batches:
                pass
            assert [step for _, step, _ in steps(path)] == list(range(7))
        if not interrupted:
            break
    assert at > 50
