"""What surrounds the user's code is in workers as it is in main, also when it changes between epochs."""

from __future__ import annotations

import locale
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline, WorkerInfo, worker_info

WORKERS = [0, 2]
NAME = "DATARAX_MP_TEST_VARIABLE"


class Seen:
    """A source whose records say what a function finds where they are read."""

    def __init__(self, look: Callable[[], Any]) -> None:
        self.look = look

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"number": number, "seen": repr(self.look()), "pid": os.getpid()}


def seen(pipeline: Pipeline) -> list[str]:
    batches = list(pipeline)
    return [value for batch in batches for value in batch.info["seen"]]


def make(look: Callable[[], Any], workers: int, **options: Any) -> Pipeline:
    return Pipeline(source=Seen(look), batch_size=2, num_workers=workers, output="numpy", **options)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    errors, limit, umask, spoken = np.geterr(), sys.getrecursionlimit(), umask_now(), locale.setlocale(locale.LC_ALL)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as zone:
        zone.setenv("TZ", "AAA-1")
        time.tzset()
        yield
    time.tzset()
    os.umask(umask)
    locale.setlocale(locale.LC_ALL, spoken)
    np.seterr(**errors)
    np.seterrcall(None)
    sys.setrecursionlimit(limit)


def umask_now() -> int:
    os.umask(now := os.umask(0o22))
    return now


def change_zone() -> None:
    os.environ["TZ"] = "BBB-3"
    time.tzset()


def changes() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """For each thing: how main changes it, and how the user's code sees it."""
    return {
        "variable": (lambda: os.environ.__setitem__(NAME, "new"), lambda: os.environ.get(NAME)),
        "path": (lambda: sys.path.append("/no/such/folder"), lambda: "/no/such/folder" in sys.path),
        "directory": (lambda: os.chdir("/"), os.getcwd),
        "umask": (lambda: os.umask(umask_now() ^ 0o7), umask_now),
        "locale": (lambda: locale.setlocale(locale.LC_ALL, "C"), lambda: locale.setlocale(locale.LC_ALL)),
        "time zone": (change_zone, lambda: (time.tzname[0], time.localtime(0).tm_hour)),
        "arguments": (lambda: sys.argv.append("--flag"), lambda: sys.argv[-1]),
        "recursion": (lambda: sys.setrecursionlimit(12_345), sys.getrecursionlimit),
        "numpy errors": (lambda: np.seterr(divide="ignore", over="raise"), lambda: sorted(np.geterr().items())),
        "warning filters": (
            lambda: warnings.filterwarnings("ignore", "of this text", FutureWarning),
            lambda: str(warnings.filters[0]),
        ),
    }


SAID_BY_PROC = ["umask"]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.needs("proc") if name in SAID_BY_PROC else ()) for name in changes()],
)
def test_what_main_changes_between_epochs_is_the_same_in_workers(name: str, workers: int) -> None:
    change, look = changes()[name]
    path = list(sys.path)
    try:
        with make(look, workers) as pipeline:
            before = repr(look())
            assert seen(pipeline) == [before] * 8
            change()
            assert repr(look()) != before
            assert seen(pipeline) == [repr(look())] * 8
    finally:
        sys.path[:] = path


def test_a_variable_that_main_has_deleted_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "old")
    with make(lambda: os.environ.get(NAME), 2) as pipeline:
        assert seen(pipeline) == ["'old'"] * 8
        monkeypatch.delenv(NAME)
        assert seen(pipeline) == ["None"] * 8


def test_workers_have_one_thread_and_no_device_unless_the_user_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> Any:
        return [os.environ[name] for name in ("OMP_NUM_THREADS", "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")]

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu,cuda")
    with make(look, 1) as pipeline:
        assert seen(pipeline) == ["['1', 'cpu', '']"] * 8
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert seen(pipeline) == ["['3', 'cpu', '']"] * 8


@pytest.mark.parametrize("workers", WORKERS)
def test_a_filter_that_makes_warnings_errors_does_so_in_workers(workers: int) -> None:
    class MineWarning(UserWarning):
        pass

    def warn(record: Any) -> Any:
        warnings.warn("careful", MineWarning, stacklevel=1)
        return record

    with Pipeline(source=[1, 2], batch_size=1, stages=[warn], num_workers=workers, output="numpy") as pipeline:
        warnings.simplefilter("ignore", MineWarning)
        assert len(list(pipeline)) == 2
        warnings.simplefilter("error", MineWarning)
        with pytest.raises((MineWarning, UserWarning), match="careful"):
            list(pipeline)


@pytest.mark.parametrize("workers", WORKERS)
def test_floating_point_errors_are_handled_as_main_says(workers: int) -> None:
    def divide(record: Any) -> Any:
        return {"x": np.float64(record) / np.float64(0)}

    with Pipeline(source=[1.0, 2.0], batch_size=1, stages=[divide], num_workers=workers, output="numpy") as pipeline:
        with np.errstate(divide="ignore"):
            assert [batch["x"][0] for batch in pipeline] == [np.inf, np.inf]
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
            list(pipeline)


JAX = """
import sys
import jax, numpy as np
from datarax_mp import Pipeline

class Uses:
    def __len__(self):
        return 4
    def __getitem__(self, number):
        import jax.numpy as jnp
        assert number >= 0 and jnp.ones(1).devices().pop().platform == "cpu"
        key = jax.random.key(number)
        return {"impl": str(jax.random.key_impl(key)), "dtype": str(jnp.ones(1, float).dtype), "draw": np.asarray(
            jax.random.normal(key, (2,), np.float32))}

def epoch(pipeline):
    batches = list(pipeline)
    return ([value for batch in batches for value in zip(batch.info["impl"], batch.info["dtype"])],
            np.concatenate([batch["draw"] for batch in batches]).tolist())

if __name__ == "__main__":
    pipelines = [Pipeline(source=Uses(), batch_size=1, num_workers=workers, output="numpy") for workers in (0, 1)]
    found = []
    for options in (
        {"jax_enable_x64": True, "jax_default_prng_impl": "rbg", "jax_numpy_dtype_promotion": "strict"},
        {"jax_enable_x64": False, "jax_numpy_dtype_promotion": "standard"},
    ):
        for name, value in options.items():
            jax.config.update(name, value)
        one, other = map(epoch, pipelines)
        assert one == other, (one, other)
        found.append(one[0][0])
    assert found == [("rbg", "float64"), ("rbg", "float32")], found
"""


def test_options_of_jax_hold_for_workers_that_import_it(run_script: Callable[..., CompletedProcess[str]]) -> None:
    run_script(JAX)


def test_a_working_directory_that_a_worker_cannot_enter_is_an_error(tmp_path: Path) -> None:
    class Gone(str):
        pass

    with make(os.getcwd, 1) as pipeline:
        seen(pipeline)
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert seen(pipeline) == [repr(str(tmp_path))] * 8  # main has none either, and the worker's stays


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_knows_which_it_is_and_how_many_there_are(workers: int) -> None:
    with make(worker_info, workers) as pipeline:
        found = {value for _ in range(5) for value in seen(pipeline)}
    assert found <= {repr(WorkerInfo(index, workers)) for index in range(workers)}
    assert worker_info() is None


def test_there_is_no_worker_outside_of_workers() -> None:
    with make(worker_info, 0) as pipeline:
        assert seen(pipeline) == ["None"] * 8


def test_which_worker_it_is_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        WorkerInfo(0, 1).index = 1  # type: ignore[misc]


STARTED: list[Any] = []


def start() -> None:
    STARTED.append(worker_info())


def started() -> Any:
    return STARTED


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_worker_init_is_called_once_before_the_first_record(workers: int) -> None:
    STARTED.clear()
    calls = [str([None])] if workers == 0 else [repr([WorkerInfo(index, workers)]) for index in range(workers)]
    with make(started, workers, worker_init=start) as pipeline:
        for _ in range(3):
            assert set(seen(pipeline)) <= set(calls)
    with make(started, workers, worker_init=lambda: STARTED.append("other")) as pipeline:  # the same processes
        assert {value[-8:] for value in seen(pipeline)} == {"'other']"}


@pytest.mark.parametrize("workers", WORKERS)
def test_what_worker_init_raises_reaches_the_caller(workers: int) -> None:
    def fails() -> None:
        raise LookupError("no database")

    with make(started, workers, worker_init=fails) as pipeline:
        for _ in range(2):
            with pytest.raises(LookupError, match="no database") as caught:
                seen(pipeline)
            assert "while worker_init prepared the process" in caught.value.__notes__


def test_worker_init_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="worker_init must be a function without arguments, got int"):
        make(started, 0, worker_init=3)


def test_a_worker_that_takes_a_dead_ones_place_has_its_index_and_is_prepared_too(tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    def look() -> Any:
        if not killed.exists() and worker_info() == WorkerInfo(0, 1):
            killed.touch()
            os.kill(os.getpid(), 9)
        return worker_info(), len(STARTED)

    STARTED.clear()
    with make(look, 1, worker_init=start) as pipeline:
        assert seen(pipeline) == [repr((WorkerInfo(0, 1), 1))] * 8
    assert killed.exists()
