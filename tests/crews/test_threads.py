"""Threads as workers: the same stream, nothing started or pickled, and what cannot be done with threads is said."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from datarax_mp import (
    Filter,
    MapBatch,
    MemorySource,
    MemorySourceConfig,
    Pad,
    Pipeline,
    RandomMapElement,
    WorkerTimeoutError,
    worker_info,
)
from datarax_mp.testing import assert_same_stream
from tests.engines import check_errors, check_going_on

LENGTH, BATCH = 50, 4
THREADS: dict[str, Any] = {"num_workers": 3, "workers": "threads"}
SECONDS = 20.0


class Locked:
    """What no process could be sent: it holds a lock. Records say which epoch the source was told."""

    def __init__(self) -> None:
        self.lock, self.epoch, self.told = threading.Lock(), -1, list[int]()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.told.append(epoch)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        with self.lock:
            return {"n": np.int32(number), "epoch": np.int32(self.epoch), "text": f"record {number}"}


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random(3)}


def ragged(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "tokens": np.arange(record["n"] % 7 + 1)}


ARRAYS = {"image": np.arange(LENGTH * 48, dtype=np.uint8).reshape(LENGTH, 4, 4, 3), "n": np.arange(LENGTH)}

KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: {"source": ARRAYS},
    "large arrays": lambda: {"source": {"x": np.arange(LENGTH * 30_000, dtype=np.float32).reshape(LENGTH, -1)}},
    "records": lambda: {"source": Locked(), "stages": [RandomMapElement(noisy)]},
    "padded": lambda: {"source": Locked(), "stages": [ragged, Pad("tokens", 8, to="longest", mask="mask")]},
    "batches": lambda: {"source": ARRAYS, "stages": [MapBatch(lambda batch: {**batch, "twice": batch["n"] * 2})]},
    "filtered": lambda: {"source": Locked(), "stages": [Filter(lambda record: record["n"] % 3 > 0)]},
    "elements": lambda: {"source": ARRAYS, "enforce_batch": False},
    "several epochs": lambda: {"source": Locked(), "num_epochs": 3},
    "a part": lambda: {"source": MemorySource(MemorySourceConfig(shard_id=1, num_workers=3), ARRAYS)},
}


def make(**options: Any) -> Pipeline:
    return Pipeline(**{"batch_size": BATCH, "shuffle": True, "seed": 5, "output": "numpy", **options})


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_is_the_same_as_without_workers(kind: str) -> None:
    with make(**KINDS[kind]()) as plain, make(**KINDS[kind](), **THREADS) as threaded:
        assert_same_stream(plain, threaded, epochs=2)


def test_a_run_goes_on_from_one_engine_in_another() -> None:
    hows: list[dict[str, Any]] = [{"num_workers": 0}, {"num_workers": 2}, THREADS]
    with make(source=ARRAYS, **THREADS) as threaded:
        check_going_on(threaded, [partial(make, source=ARRAYS, **how) for how in hows])


def test_arrays_go_to_the_device_as_from_processes() -> None:
    with (
        make(source=ARRAYS, output="jax", num_workers=2) as processes,
        make(source=ARRAYS, output="jax", **THREADS) as threads,
    ):
        kept = list(threads)
        assert [batch["n"].tolist() for batch in kept] == [batch["n"].tolist() for batch in processes]


def test_nothing_of_processes_is_imported() -> None:
    code = (
        "import sys; from datarax_mp import Pipeline; p = Pipeline(source=[1, 2, 3], batch_size=2, num_workers=2, "
        "workers='threads', output='numpy'); assert len(list(p)) == 2; "
        "print([name for name in sys.modules if 'crews.processes' in name or 'shipping' in name])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_the_source_is_told_each_epoch_once_before_its_first_record_and_no_thread_is_at_another() -> None:
    source = Locked()
    with make(source=source, num_epochs=4, **THREADS) as pipeline:
        epochs = [batch["epoch"].tolist() for batch in pipeline]
    assert source.told == [0, 1, 2, 3]
    steps = len(epochs) // 4
    assert all(set(batch) == {step // steps} for step, batch in enumerate(epochs))


def test_what_is_raised_names_record_and_stage_and_comes_behind_the_batches_before() -> None:
    check_errors(partial(make, source=Locked(), **THREADS), LENGTH)


@pytest.mark.parametrize("exit_", [SystemExit(3), KeyboardInterrupt("in a stage")])
def test_what_ends_a_process_ends_no_thread_silently(exit_: BaseException) -> None:
    def leaves(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 13:
            raise exit_
        return record

    with make(source=Locked(), stages=[leaves], **THREADS) as pipeline, pytest.raises(type(exit_)):
        list(pipeline)


@pytest.mark.parametrize("draw", [np.random.random, lambda: np.random.permutation(3)])
def test_code_that_draws_from_global_generators_is_refused_with_the_remedy(draw: Callable[[], Any]) -> None:
    before = np.random.get_state(legacy=False)["state"]["pos"]
    with (
        make(source=Locked(), stages=[lambda record: {**record, "x": draw()}], **THREADS) as pipeline,
        pytest.raises(ValueError, match=r"global random generator .* RandomMapElement"),
    ):
        iter(pipeline)
    assert np.random.get_state(legacy=False)["state"]["pos"] == before


def test_code_that_draws_nothing_is_not_refused_because_another_thread_draws_once() -> None:
    drew: list[int] = []

    def as_it_is(record: dict[str, Any]) -> dict[str, Any]:
        if not drew:  # as if another thread did so just now
            drew.append(int(np.random.randint(3)))
        return record

    with make(source=Locked(), stages=[as_it_is], **THREADS) as pipeline:
        assert len(list(pipeline)) == 13


def test_whoever_waits_for_a_thread_of_another_epoch_is_told_so() -> None:
    go_on = threading.Event()

    def waits(record: dict[str, Any]) -> dict[str, Any]:
        if record["epoch"] == 0 and record["n"] == 13:
            go_on.wait(SECONDS)
        return record

    with make(source=Locked(), shuffle=False, stages=[waits], timeout=2, **THREADS) as pipeline:
        with pytest.raises(WorkerTimeoutError, match="at step 3 of epoch 0"):
            list(pipeline)
        with pytest.raises(WorkerTimeoutError, match="at step 3 of epoch 0, and nobody can begin step 0 of epoch 1"):
            list(pipeline)
        go_on.set()


def test_a_process_that_is_forked_while_threads_work_can_use_threads_of_its_own(run_script: Callable[..., Any]) -> None:
    run_script(
        "import os, warnings, numpy as np\nfrom datarax_mp import Pipeline\n"
        "warnings.simplefilter('ignore')\n"
        "how = {'num_workers': 2, 'workers': 'threads', 'output': 'numpy'}\n"
        "def make(): return Pipeline(source=np.arange(99), batch_size=4, **how)\n"
        "outer = make(); it = iter(outer); next(it)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    with make() as inner: n = sum(b.batch_size for b in inner)\n"
        "    os._exit(0 if n == 99 else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "assert 4 + sum(b.batch_size for b in it) == 99\n"
    )


def test_a_library_that_is_imported_by_the_first_record_is_none_that_was_drawn_from(
    run_script: Callable[..., Any],
) -> None:
    run_script(
        "import numpy as np\nfrom datarax_mp import Pipeline\n"
        "def late(r):\n    import cv2\n    return {'x': cv2.resize(np.zeros((4, 4), np.float32), (2, 2)) + r}\n"
        "how = {'num_workers': 2, 'workers': 'threads'}\n"
        "with Pipeline(source=np.arange(9), batch_size=4, stages=[late], **how) as pipeline:\n"
        "    assert [len(batch['x']) for batch in pipeline] == [4, 4, 1]\n"
    )


def test_each_thread_is_prepared_once_and_knows_which_it_is() -> None:
    prepared: list[tuple[int, int, str]] = []
    changed = threading.Condition()

    def prepare() -> None:
        info = worker_info()
        assert info is not None
        with changed:
            prepared.append((info.index, info.count, threading.current_thread().name))
            changed.notify_all()

    def together(record: dict[str, Any]) -> dict[str, Any]:
        with changed:  # all but the first record, which one thread reads before there is work for the others
            assert changed.wait_for(lambda: len(prepared) == 3 or record["n"] == 0, SECONDS)
        return record

    with make(source=Locked(), shuffle=False, stages=[together], worker_init=prepare, **THREADS) as pipeline:
        assert len(list(pipeline)) == 13
        list(pipeline)  # by the same threads
    assert sorted(prepared) == [(index, 3, f"datarax_mp worker {index}") for index in range(3)]
    assert worker_info() is None


def test_a_thread_that_takes_too_long_is_named_with_its_stack_and_left_to_itself() -> None:
    go_on = threading.Event()

    def waits_for_ever(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 13:
            go_on.wait(SECONDS)
        return record

    with make(source=Locked(), shuffle=False, stages=[waits_for_ever], timeout=2, **THREADS) as pipeline:
        found = []
        with pytest.raises(WorkerTimeoutError, match="at step 3 of epoch 0, and cannot be ended") as caught:
            for batch in pipeline:
                found += batch["n"].tolist()
        assert "go_on.wait" in str(caught.value)
        assert found == list(range(12))
        go_on.set()
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(LENGTH))


def test_the_first_record_that_takes_too_long_is_a_timeout_too() -> None:
    go_on = threading.Event()

    def waits(record: dict[str, Any]) -> dict[str, Any]:
        go_on.wait(SECONDS)
        return record

    with (
        make(source=Locked(), stages=[waits], timeout=1, **THREADS) as pipeline,
        pytest.raises(WorkerTimeoutError, match="reading the first record"),
    ):
        iter(pipeline)
    go_on.set()


def test_batches_that_are_kept_never_change_and_epochs_left_early_disturb_none() -> None:
    source = {"x": np.arange(LENGTH * 5000, dtype=np.int64).reshape(LENGTH, 5000)}
    with make(source=source, shuffle=False, **THREADS) as pipeline:
        kept = []
        for epoch in range(6):
            for step, batch in enumerate(pipeline):
                kept.append((step, batch))
                if step == epoch:
                    break
        gc.collect()
        for step, batch in kept:
            assert np.array_equal(batch["x"], source["x"][step * BATCH : (step + 1) * BATCH])


def test_close_waits_for_what_is_being_made_and_another_thread_gets_stop_iteration() -> None:
    inside, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def waits(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 13:
            inside.set()
            go_on.wait(SECONDS)
        return record

    def consume() -> None:
        list(pipeline)
        ended.set()

    pipeline = make(source=Locked(), shuffle=False, stages=[waits], **THREADS)
    consumer = threading.Thread(target=consume)
    consumer.start()
    assert inside.wait(SECONDS)
    closer = threading.Thread(target=pipeline.close, args=(SECONDS,))
    closer.start()
    assert ended.wait(SECONDS)
    assert closer.is_alive()  # the stage is still at it
    go_on.set()
    closer.join(SECONDS)
    consumer.join(SECONDS)
    assert not closer.is_alive()


def test_threads_stay_for_the_next_epoch_and_end_with_their_pipeline() -> None:
    def workers() -> set[int | None]:
        return {thread.ident for thread in threading.enumerate() if thread.name.startswith("datarax_mp worker")}

    def all_gone() -> bool:
        end = time.monotonic() + SECONDS
        while workers() and time.monotonic() < end:
            time.sleep(0.005)
        return not workers()

    assert all_gone()
    pipeline = make(source=Locked(), **THREADS)
    iterator = iter(pipeline)
    next(iterator)
    threads = workers()
    assert len(threads) == 3
    del iterator
    gc.collect()
    list(pipeline)
    assert workers() == threads
    pipeline.close()
    assert all_gone()
    pipeline = make(source=Locked(), **THREADS)
    list(pipeline)
    del pipeline
    gc.collect()
    assert all_gone()


def test_a_program_that_ends_in_the_middle_of_an_epoch_ends(run_script: Callable[..., Any]) -> None:
    run_script(
        "import time, numpy as np\nfrom datarax_mp import Pipeline\n"
        "def slow(r):\n    time.sleep(0.01)\n    return {'x': np.zeros(1000) + r}\n"
        "it = iter(Pipeline(source=np.arange(10_000), batch_size=4, stages=[slow], num_workers=4, workers='threads'))\n"
        "print(next(it)['x'].shape)\n"
    )


def test_more_threads_are_had_as_long_as_they_help(caplog: pytest.LogCaptureFixture) -> None:
    def slow(record: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.004)
        return record

    with (
        caplog.at_level(logging.INFO, "datarax_mp"),
        make(source=Locked(), stages=[slow], num_workers="auto", workers="threads", num_epochs=6) as pipeline,
    ):
        assert sum(batch.batch_size for batch in pipeline) == 6 * LENGTH


def test_filters_are_asked_by_threads() -> None:
    with make(source=Locked(), stages=[Filter(lambda record: record["n"] < 9)], **THREADS) as pipeline:
        assert len(pipeline) == 3


@pytest.mark.parametrize("wrong", ["thread", "", 3])
def test_another_kind_of_workers_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="'processes', 'threads'"):
        make(source=[1], workers=wrong)
