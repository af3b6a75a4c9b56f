"""An exception at every line: whatever is raised, and wherever, the caller gets it, and nothing is wrong afterwards.

A trace function raises at the n-th line that main runs in the package, for n over the whole of an epoch's begin,
middle, end and close. That finds in seconds what a signal handler would hit once in months. Here it is a sample of the
lines; all of them, with every kind of exception, which takes hours:

    DATARAX_MP_TEST_LINES=0 pytest tests/faults/test_interrupts.py
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import itertools
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from flax import nnx

import datarax_mp
from datarax_mp import Filter, IterableSource, Pad, Pipeline
from datarax_mp.crews.processes.pool import pool
from datarax_mp.delivery import grouped
from datarax_mp.sources.blocks import BlockSource
from tests import processes
from tests.lines import AtLine, Lines, count

PACKAGE = str(Path(datarax_mp.__file__).parent)
# How many lines are tried of each way to use a pipeline; 0 is all.
TRIED = int(os.environ.get("DATARAX_MP_TEST_LINES", "8"))

# What is raised while the user's code runs in this process is that code's own. These lines are its calls; and the
# sources of the package are called as any other.
USERS_CODE = (
    *(".fn(", "_source[number]", "attempt()", "many(wanted)", "stages(data)", "list(found)"),
    *("source.take_block(", "pickle.loads", "pickle.dumps(value", "logger.handle(record)"),
)
SOURCES = f"{PACKAGE}/sources/"


class Own(Exception):
    """What people derive for themselves."""


class OwnBase(BaseException):
    """And some derive this."""


class OwnRuntime(RuntimeError):
    """And some this, which Python raises where there can be no further thread."""


KINDS = (KeyboardInterrupt, Own, TimeoutError, OwnBase, OwnRuntime)


def is_spared(frame: FrameType | None) -> bool:
    """Where Python itself drops an exception, and prints "Exception ignored" whatever we do."""
    while frame is not None and frame.f_code.co_filename != __file__:
        code = frame.f_code
        if code.co_name in ("__del__", "<lambda>") or code.co_filename == weakref.__file__:
            return True
        if code.co_filename.startswith(SOURCES):
            return True
        frame = frame.f_back
    return False


LINES = Lines(
    in_frame=lambda frame: frame.f_code.co_filename.startswith(PACKAGE) and not is_spared(frame),
    spares=lambda line: any(call in line for call in USERS_CODE),
)


def raiser(error: BaseException) -> Callable[[], None]:
    """What raises it as a signal handler does: it is the handler of a signal."""

    def act(*_: object) -> None:
        raise error

    signal.signal(signal.SIGUSR2, act)
    return act


def stage(record: Any) -> Any:
    return {"n": record, "text": f"record {record}"}


def ragged(record: Any) -> Any:
    return {"n": record, "tokens": np.arange(record % 5 + 1)}


def fails(record: Any) -> Any:
    if record % 8 == 3:
        raise ValueError("no")
    return {"n": record, "text": f"record {record}"}


def is_kept(record: Any) -> bool:
    return bool(record % 5 > 0)


Workers: TypeAlias = int | str
THREADS, CHOSEN = "2 threads", "2, threads or processes"


def make(mode: str, workers: Workers) -> Pipeline:
    how: dict[str, Any] = {"num_workers": workers}
    if workers == THREADS:
        how = {"num_workers": 2, "workers": "threads"}
    if workers == CHOSEN:
        how = {"num_workers": 2, "workers": "auto"}
    options: dict[str, Any] = {
        "arrays": {"output": "numpy"},
        "metadata": {"stages": [stage], "output": "numpy"},
        "pad": {"stages": [ragged, Pad("tokens", 5, to="longest")], "output": "numpy", "pad_last": True},
        "skip": {"stages": [fails], "on_error": "skip", "output": "numpy"},
        "grouped": {},
        "blocks": {"output": "numpy"},
        "lanes": {"output": "numpy"},
        "filtered": {"stages": [Filter(is_kept)], "output": "numpy"},
    }[mode]
    source: Any = np.arange(25 if mode != "grouped" else 65)
    if mode in ("blocks", "lanes"):
        source = InBlocks() if mode == "blocks" else IterableSource(in_lanes, lanes=3)
    return Pipeline(source=source, batch_size=2, **how, **options)


def in_lanes(lane: int, lanes: int) -> Iterator[dict[str, int]]:
    yield from ({"n": number} for number in range(lane, 25, lanes))


class InBlocks(BlockSource):
    """Numbers, a few at a time."""

    blocks = (3, 8, 2, 5, 7)

    def read_block(self, number: int) -> Any:
        end = sum(self.blocks[: number + 1])
        return {"n": np.arange(end - self.blocks[number], end)}


MODES = ("arrays", "metadata", "pad", "skip", "grouped", "blocks", "lanes", "filtered")


def content(batch: Any) -> tuple[Any, ...]:
    arrays = {name: np.asarray(array).tolist() for name, array in batch.items()}
    metadata = [(item.index, item.batch_idx, item.source_info) for item in batch.metadata]
    return arrays, metadata, np.asarray(batch.valid_mask).tolist()


def numbers(batches: Any) -> list[Any]:
    return [content(batch) for batch in batches]


@pytest.fixture(autouse=True)
def groups_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(grouped, "PATIENCE", 0)
    before = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, before)
    assert others_get_in()  # or the tests that come after this one would fail


def lines_of(use: Callable[[], object]) -> int:
    return count(use, LINES)


def some(total: int) -> Iterator[int]:
    return iter(range(1, total + 1, max(1, total // TRIED) if TRIED else 1))


class Epoch:
    """One epoch with a pipeline, into which something comes."""

    def __init__(self, mode: str, workers: Workers) -> None:
        self.pipeline = make(mode, workers)
        self.iterator: Any = None
        self.batches: list[Any] = []
        self.closing = False

    def run(self) -> None:
        self.iterator = iter(self.pipeline)
        for batch in self.iterator:
            self.batches.append(batch)
            content(batch)
        self.closing = True
        self.pipeline.close()


# A socket that has no owner yet when the exception comes is closed by the garbage collection, with this warning.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("mode", "workers"), [*itertools.product(MODES, [0, 2, THREADS]), ("arrays", CHOSEN), ("metadata", CHOSEN)]
)
def test_an_exception_at_any_line_reaches_the_caller_and_harms_nothing(mode: str, workers: Workers) -> None:
    with make(mode, workers) as pipeline:
        expected = numbers(pipeline)
    total = lines_of(Epoch(mode, workers).run)
    kinds = itertools.cycle(KINDS)
    for line in some(total):
        for kind in KINDS if TRIED == 0 else (next(kinds),):
            epoch = Epoch(mode, workers)
            try:
                check(epoch, line, kind("from a handler"), expected, lambda: make(mode, workers))
            except BaseException as error:
                error.add_note(f"with a {kind.__name__} at line {line} of {total}")
                raise


def check(epoch: Epoch, line: int, error: BaseException, expected: list[Any], anew: Callable[[], Pipeline]) -> None:
    caught = None
    injection = AtLine(line, raiser(error), LINES)
    try:
        with injection:
            epoch.run()
    except type(error) as raised:
        caught = raised
    try:
        assert (caught is error) == bool(injection.where)
        assert others_get_in()
        received = numbers(epoch.batches)
        assert received == expected[: len(received)]
        if epoch.iterator is not None:
            state = epoch.iterator.get_state()
            at = (0, len(received)) if len(received) < len(expected) or state["step"] else (1, 0)
            assert (state["epoch"], state["step"]) == at
            rest = numbers(epoch.iterator)  # it goes on if the exception did not come into ``next``
            assert rest in ([], expected[len(received) :])
        check_pipeline(epoch, expected)
        if epoch.iterator is not None:
            with anew() as resumed:
                resumed.set_state(state)
                wanted = expected[len(received) :] if at[0] == 0 else expected
                assert numbers(resumed) == wanted
        assert numbers(epoch.batches) == received
    except BaseException as failure:
        failure.add_note(f"at {injection.where}")
        raise


def check_pipeline(epoch: Epoch, expected: list[Any]) -> None:
    """It can be iterated anew, unless it was about to be closed."""
    with epoch.pipeline as pipeline:
        try:
            assert numbers(pipeline) == expected
        except RuntimeError as error:
            if not epoch.closing or "the pipeline is closed" not in str(error):
                raise


class Stacked(Epoch):
    """One epoch of several steps in one array."""

    def run(self) -> None:
        self.iterator = self.pipeline.stacked(3)
        for group in self.iterator:
            self.batches.append(group)
        self.pipeline.close()

    def received(self) -> list[list[int]]:
        return [step for group in self.batches for step in group["value"].tolist()]


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("mode", "workers"), [("arrays", 0), ("arrays", 2), ("grouped", 2)])
def test_groups_of_steps_are_received_whole_or_not_at_all(mode: str, workers: int) -> None:
    with make(mode, workers) as pipeline:
        expected = [batch["value"].tolist() for batch in pipeline]
    kinds = itertools.cycle(KINDS)
    for line in some(lines_of(Stacked(mode, workers).run)):
        epoch, error = Stacked(mode, workers), next(kinds)("from a handler")
        caught, injection = None, AtLine(line, raiser(error), LINES)
        try:
            with injection:
                epoch.run()
        except type(error) as raised:
            caught = raised
        assert caught is error or not injection.where
        received = epoch.received()
        assert received == expected[: len(received)], injection.where
        if epoch.iterator is not None:
            state = epoch.iterator.get_state()
            done = state["step"] + len(expected) * state["epoch"]
            assert done == len(received), injection.where
            with make(mode, workers) as resumed:
                resumed.set_state(state)
                rest = [batch["value"].tolist() for batch in resumed]
                assert rest == (expected if state["epoch"] else expected[done:])
        epoch.pipeline.close()


class Steps(nnx.Module):
    """Counts steps and sums their records up."""

    def __init__(self) -> None:
        self.count = nnx.Variable(jnp.zeros((), jnp.int32))
        self.total = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, batch: Any) -> Any:
        self.count[...] += 1
        self.total[...] += batch["value"].sum().astype(jnp.int32)
        return self.count[...]


def scanned(pipeline: Pipeline[Any], steps: Steps) -> None:
    for _ in range(2):
        pipeline.scan(Steps.__call__, length=20, modules=(steps,))


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_scan_leaves_its_modules_where_its_state_is(workers: int) -> None:
    with make("grouped", workers) as pipeline:
        sums = [int(batch["value"].sum()) for _ in range(2) for batch in pipeline]
    with make("grouped", workers) as pipeline:
        total = lines_of(lambda: scanned(pipeline, Steps()))
    kinds = itertools.cycle(KINDS)
    for line in some(total):
        error = next(kinds)("from a handler")
        caught, injection = None, AtLine(line, raiser(error), LINES)
        with make("grouped", workers) as pipeline:
            steps = Steps()
            try:
                with injection:
                    scanned(pipeline, steps)
            except type(error) as raised:
                caught = raised
            assert caught is error or not injection.where
            state = pipeline.get_state()
            done = state["step"] + 33 * state["epoch"]
            assert (int(steps.count[...]), int(steps.total[...])) == (done, sum(sums[:done])), injection.where


def test_a_step_that_the_caller_does_not_get_comes_again() -> None:
    with make("metadata", 0) as pipeline:
        expected = [pipeline.step()["n"].tolist() for _ in range(20)]
    with make("metadata", 0) as pipeline:
        total = lines_of(lambda: [pipeline.step() for _ in range(20)])
    for line in some(total):
        found, error = list[Any](), Own("from a handler")
        with make("metadata", 0) as pipeline:
            with contextlib.suppress(Own), AtLine(line, raiser(error), LINES) as injection:
                for _ in range(20):
                    found.append(pipeline.step()["n"].tolist())
            while len(found) < 20:
                found.append(pipeline.step()["n"].tolist())
        assert found == expected, injection.where


def test_who_is_interrupted_while_another_thread_has_the_iterator_leaves_at_once_and_disturbs_nobody() -> None:
    inside, go_on, left = threading.Event(), threading.Event(), threading.Event()

    class Waits:
        def __len__(self) -> int:
            return 20

        def __getitem__(self, number: int) -> dict[str, int]:
            if number == 10:
                inside.set()
                go_on.wait(20)
            return {"n": number}

    def leave(*_: object) -> None:
        left.set()
        raise Own

    def take() -> None:
        while not go_on.is_set():
            found.append(next(iterator)["n"].tolist())

    def ring() -> None:
        while not left.wait(0.05):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, leave)
    try:
        with Pipeline(source=Waits(), batch_size=2, output="numpy") as pipeline:
            iterator = iter(pipeline)
            found = [next(iterator)["n"].tolist()]
            other, bell = threading.Thread(target=take), threading.Thread(target=ring)
            other.start()
            assert inside.wait(20)
            with pytest.raises(Own):
                bell.start()
                next(iterator)
            assert not go_on.is_set()  # it did not wait for the other thread
            go_on.set()
            other.join()
            assert iterator.get_state()["step"] == len(found)
            found += [batch["n"].tolist() for batch in iterator]
        assert found == [[number, number + 1] for number in range(0, 20, 2)]
    finally:
        signal.signal(signal.SIGUSR1, before)


CALLS: dict[str, Callable[[Epoch], Any]] = {
    "close": lambda epoch: epoch.pipeline.close(),
    "close of the iterator": lambda epoch: epoch.iterator is not None and epoch.iterator.close(),
    "get_state": lambda epoch: (epoch.pipeline.get_state(), epoch.iterator and epoch.iterator.get_state()),
    "len": lambda epoch: len(epoch.pipeline),
    "start_prefetch": lambda epoch: epoch.iterator is not None and epoch.iterator.start_prefetch(),
    "another epoch": lambda epoch: numbers(epoch.pipeline),
    "another epoch, left": lambda epoch: next(iter(epoch.pipeline)),
}


def quietly(call: Callable[[Epoch], Any], epoch: Epoch, found: list[Any], message: str) -> Callable[[], None]:
    """A handler that notes what a call returns, or that it was refused with a message."""

    def handle() -> None:
        try:
            found.append(call(epoch))
        except (RuntimeError, StopIteration) as error:
            found.append(None)
            if isinstance(error, RuntimeError) and message not in str(error):
                raise

    return handle


@pytest.mark.parametrize("workers", [0, 2, THREADS])
@pytest.mark.parametrize("name", CALLS)
def test_a_signal_handler_may_call_anything_at_any_line(name: str, workers: Workers) -> None:
    with make("metadata", workers) as pipeline:
        expected = numbers(pipeline)
    total = lines_of(Epoch("metadata", workers).run)
    for line in some(total):
        epoch, found = Epoch("metadata", workers), list[Any]()
        handler = AtLine(line, quietly(CALLS[name], epoch, found, "the pipeline is closed"), LINES)
        try:
            try:
                with handler:
                    epoch.run()
            except RuntimeError as error:
                if "close" not in name or "is closed" not in str(error):
                    raise
            assert len(found) == bool(handler.where)
            received = numbers(epoch.batches)
            assert received == (expected[: len(received)] if "close" in name else expected)
            if name == "another epoch" and found and found[0] is not None:
                assert found[0] == expected
            with make("metadata", workers) as pipeline:
                assert numbers(pipeline) == expected
        except BaseException as error:
            error.add_note(f"with a handler at line {line} of {total}, {handler.where}")
            raise


def test_a_handler_that_iterates_makes_no_epoch_disappear() -> None:
    def make_shuffled() -> Pipeline:
        return Pipeline(source=np.arange(20), batch_size=5, shuffle=True, rngs=np.random.default_rng(0), output="numpy")

    def epochs(pipeline: Pipeline) -> list[Any]:
        return [[batch["value"].tolist() for batch in pipeline] for _ in range(4)]

    with make_shuffled() as pipeline:
        expected = epochs(pipeline)
        assert expected[0] != expected[1]
    with make_shuffled() as pipeline:
        total = lines_of(lambda: begin(pipeline))
    for line in some(total):
        found: list[Any] = []
        with make_shuffled() as pipeline:
            with AtLine(line, partial(iterate_too, pipeline, found), LINES):
                iterator = begin(pipeline)
            found += [[batch["value"].tolist() for batch in iterator], *epochs(pipeline)]
        assert all(epoch in found for epoch in expected)


def iterate_too(pipeline: Pipeline, found: list[Any]) -> None:
    found.append([batch["value"].tolist() for batch in pipeline])


def begin(pipeline: Pipeline) -> Any:
    return iter(pipeline)


def test_next_in_the_middle_of_next_is_an_error() -> None:
    def one_more(epoch: Epoch) -> Any:
        return content(next(epoch.iterator)) if epoch.iterator is not None else None

    with make("metadata", 2) as pipeline:
        expected = numbers(pipeline)
    refused = 0
    for line in some(lines_of(Epoch("metadata", 2).run)):
        epoch, found = Epoch("metadata", 2), list[Any]()
        with AtLine(line, quietly(one_more, epoch, found, "in the middle of another call"), LINES):
            epoch.run()
        received = numbers(epoch.batches) + [batch for batch in found if batch is not None]
        assert [batch for batch in expected if batch in received] == expected
        assert len(received) == len(expected)
        refused += found == [None]
    assert refused


# Python itself drops what is raised in a finalizer or in a callback of the garbage collection, such as JAX's.
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [0, 2, THREADS])
def test_alarms_that_raise_at_any_time_harm_nothing_and_leave_nothing(workers: Workers) -> None:
    seconds = 1.5 if TRIED else 60.0
    expected, of_kind = numbers(make("metadata", workers)), itertools.cycle(KINDS)
    threads, descriptors = left_without_workers()  # by other tests' libraries
    assert numbers(make("metadata", workers)) == expected  # and workers are there when the first alarm comes
    raised = 0

    def on_alarm(*_: Any) -> None:
        raise next(of_kind)("an alarm")

    before = signal.signal(signal.SIGALRM, on_alarm)
    rng = np.random.default_rng(0)
    begun = time.monotonic()
    try:
        while (passed := time.monotonic() - begun) < seconds or (raised < 20 and passed < 100):
            epoch = Epoch("metadata", workers)
            alarms_before = raised
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.03))
                epoch.run()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KINDS as error:
                raised += error.args == ("an alarm",)
            received = numbers(epoch.batches)
            assert received == expected[: len(received)]
            assert len(received) == len(expected) or raised > alarms_before
            with make("metadata", workers) as pipeline:
                assert numbers(pipeline) == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised >= 20
    assert others_get_in()
    del epoch, pipeline
    gc.collect()
    with make("metadata", workers) as pipeline:
        assert numbers(pipeline) == expected
    del pipeline
    started = processes.workers()
    assert len(started) <= raised // 2  # at most a few are parked; the others would be lost
    threads_after, descriptors_after = left_without_workers()
    assert threads_after <= threads
    assert descriptors_after <= descriptors + 6
    assert processes.all_end(started)


def others_get_in() -> bool:
    """Whether another thread can use the pool: nothing that was interrupted has left it locked."""
    thread = threading.Thread(target=lambda: pool().pids(), daemon=True)
    thread.start()
    thread.join(20)
    if thread.is_alive():  # who has it locked, or what the thread waits for
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
    return not thread.is_alive()


def left_without_workers() -> tuple[int, int]:
    """How many threads and descriptors this process has when the pool is empty."""
    gc.collect()
    pool().close()
    return threading.active_count(), psutil.Process().num_fds()
