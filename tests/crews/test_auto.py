"""Threads or processes, whichever suit the code: the same stream, a choice that holds, and never threads at a risk."""

from __future__ import annotations

import gc
import logging
import random
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest

from datarax_mp import Filter, IterableSource, Pipeline, RandomMapElement, worker_info
from datarax_mp.crews import choose
from datarax_mp.crews.auto import engine
from datarax_mp.crews.auto.verdict import Verdict
from datarax_mp.testing import assert_same_stream
from tests.engines import check_errors, check_going_on

LENGTH, BATCH = 60, 4
NUMBERS = {"n": np.arange(LENGTH)}
SECONDS = 20.0


def make(**options: Any) -> Pipeline:
    usual = {"source": NUMBERS, "batch_size": BATCH, "shuffle": True, "seed": 5, "output": "numpy", "num_workers": 2}
    return Pipeline(**{**usual, "workers": "auto", **options})


def chosen(pipeline: Pipeline) -> tuple[str, str]:
    stats = pipeline.stats()
    return stats.kind, stats.why


def as_it_is(record: dict[str, Any]) -> dict[str, Any]:
    return record


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random(3), "text": f"record {record['n']}"}


def drawing(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "x": np.random.random()}


def drawing_late(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "x": random.random() if record["n"] else 0.0}


class Told:
    """Says which epoch it was told."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": np.int32(number), "epoch": np.int32(self.epoch)}


class Counting(Told):
    """Keeps something."""

    count = 0

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.count += 1
        return super().__getitem__(number)


class Locked(Told):
    """What no process could be sent."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Entered(Told):
    """A source that is a context manager, of which main's must be left alone where processes work."""

    entered = 0

    def __enter__(self) -> Entered:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered -= 1


class InAThread(Told):
    """Works in the main thread of a process alone."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("not in a thread")
        return super().__getitem__(number)


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: {},
    "records": lambda: {"source": Told(), "stages": [RandomMapElement(noisy)]},
    "no process": lambda: {"source": Locked()},
    "filtered": lambda: {"stages": [Filter(lambda record: record["n"] % 3 > 0)]},
    "elements": lambda: {"enforce_batch": False},
    "draws": lambda: {"stages": [drawing]},
    "lanes": lambda: {"source": IterableSource(in_lanes, lanes=3), "shuffle": None},
}


def in_lanes(lane: int, lanes: int) -> Any:
    yield from ({"n": number} for number in range(lane, LENGTH, lanes))


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """The trial comes to what the test says, and notes the epochs of which it was asked."""
    asked: list[int] = []

    def attempt(recipe: Any, epoch: int, **_: Any) -> Verdict:
        asked.append(epoch)
        return Verdict(request.param, "the test says so")

    monkeypatch.setattr(engine, "attempt", attempt)
    return asked


both = pytest.mark.parametrize("verdict", ["threads", "processes"], indirect=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_is_the_same_as_without_workers(kind: str) -> None:
    with make(**KINDS[kind](), num_workers=0, workers=None) as plain, make(**KINDS[kind]()) as auto:
        assert_same_stream(plain, auto, epochs=2)
        assert auto.stats().kind in ("threads", "processes")
        assert plain.stats().kind == "none"


@both
def test_a_run_goes_on_from_one_kind_in_another(verdict: list[int]) -> None:
    hows: list[dict[str, Any]] = [{"num_workers": 0}, {"workers": "processes"}, {"workers": "threads"}]
    with make() as auto:
        check_going_on(auto, [partial(make, **how) for how in hows])


@both
def test_it_is_chosen_once_and_said_in_the_log_and_the_report(
    verdict: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "datarax_mp")
    with make(num_workers="auto", workers=None) as pipeline:
        assert chosen(pipeline) == ("auto", "")
        for _ in range(3):
            list(pipeline)
        with make(batch_size=5, num_workers=0) as other:
            next(iter(other))
            pipeline.set_state(other.get_state(), elastic=True)  # another order, which has a session of its own
        list(pipeline)
        kind, why = chosen(pipeline)
        assert why == "the test says so"
        assert f"{kind}, because the test says so" in str(pipeline.report())
        assert f"workers ({kind})" in str(pipeline.report())
        assert "choosing" in pipeline.stats().start
        assert not {"kind", "why"} & set(pipeline.stats().asdict())
    assert verdict == [0]
    said = [line for line in caplog.messages if "because the test" in line]
    assert said == [f"num_workers='auto': {kind}, because the test says so"]


@pytest.mark.parametrize("verdict", ["threads"], indirect=True)
@pytest.mark.parametrize("named", ["threads", "processes"])
def test_who_names_a_kind_has_it(verdict: list[int], named: Literal["threads", "processes"]) -> None:
    with make(num_workers="auto", workers=named) as pipeline:
        list(pipeline)
        assert chosen(pipeline) == (named, "")
    with make(workers=None) as pipeline:
        list(pipeline)
        assert chosen(pipeline) == ("processes", "")
    assert not verdict


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"source": Locked()}, "threads", "cannot be sent to worker processes: an object of type lock"),
        ({"worker_init": lambda: None}, "processes", "worker_init prepares a process"),
        ({"source": IterableSource(in_lanes, lanes=3), "shuffle": None}, "processes", "iterators"),
        ({"num_workers": 1}, "processes", "one worker alone"),
    ],
)
@pytest.mark.parametrize("verdict", ["threads"], indirect=True)
def test_some_code_needs_no_trial(verdict: list[int], options: dict[str, Any], kind: str, why: str) -> None:
    with make(**options) as pipeline:
        list(pipeline)
        assert pipeline.stats().kind == kind
        assert why in pipeline.stats().why
    assert not verdict


def test_a_system_without_processes_has_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "missing", lambda workers, number: ["os.fork"])
    with make(worker_init=as_it_is.__class__.__name__.upper) as pipeline:
        list(pipeline)
        assert chosen(pipeline) == ("threads", "processes need what this system lacks (os.fork)")


# Whatever a slow machine says instead, it is never threads.
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"stages": [drawing]}, "draws from a global random generator"),
        ({"stages": [drawing_late]}, "draws from a global random generator"),
        ({"source": Counting()}, "Counting.count changes while records are read"),
        ({"source": Entered()}, "Entered.entered changes while records are read"),
        ({"source": InAThread()}, "raises RuntimeError (not in a thread) in a thread"),
    ],
)
def test_code_that_threads_do_not_suit_has_processes(options: dict[str, Any], why: str) -> None:
    with make(workers="processes") as other:
        list(other)  # the first epoch in a process imports what draws when it is imported
    before = np.random.get_state(legacy=False), random.getstate()
    with make(**options) as pipeline:
        assert len(list(pipeline)) == LENGTH // BATCH
        assert pipeline.stats().kind == "processes"
        # A slow machine, or one without /proc, may come to the same before the code shows what it does.
        assert any(found in pipeline.stats().why for found in (why, "takes long", "does not say which threads"))
    assert str((np.random.get_state(legacy=False), random.getstate())) == str(before)


def test_the_trial_leaves_nothing_in_the_objects_that_were_given() -> None:
    source = Counting()
    with make(source=source) as pipeline:
        list(pipeline)
    assert vars(source) == {}


def test_what_does_not_pickle_and_has_an_open_file_is_an_error_as_ever() -> None:
    class Both(Told):
        def __init__(self) -> None:
            self.lock, self.file = threading.Lock(), open(__file__)  # noqa: SIM115

    source = Both()
    with make(source=source) as pipeline, pytest.raises(TypeError, match="an object of type lock does not pickle"):
        iter(pipeline)
    source.file.close()


@pytest.mark.parametrize("source", [Told(), Locked()], ids=["either", "threads"])
def test_errors_are_those_of_a_named_kind(source: Any) -> None:
    check_errors(partial(make, source=source), LENGTH)


def test_an_error_over_the_first_record_is_raised_when_the_epoch_begins() -> None:
    def fails(record: dict[str, Any]) -> dict[str, Any]:
        raise KeyError(f"record {record['n']} in worker {worker_info()}")

    with make(stages=[fails], shuffle=False) as pipeline, pytest.raises(KeyError, match="record 0 in worker"):
        iter(pipeline)


def test_without_a_sampler_there_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sys.executable
    with make() as pipeline, make(num_workers=2, workers="processes") as other:
        list(other)  # so that all processes that are needed are there
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        list(pipeline)
        assert pipeline.stats().kind == "processes"
        assert "nobody can look at threads here" in pipeline.stats().why
    assert real != sys.executable


def test_a_pipeline_that_is_closed_in_the_middle_of_the_trial_is_closed() -> None:
    inside, go_on, outcome = threading.Event(), threading.Event(), []

    def waits(record: dict[str, Any]) -> dict[str, Any]:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go_on.wait(SECONDS)
        return record

    def consume() -> None:
        try:
            list(pipeline)
        except RuntimeError as error:
            outcome.append(str(error))

    pipeline = make(source=Locked(), stages=[waits])
    consumer = threading.Thread(target=consume)
    consumer.start()
    assert inside.wait(SECONDS)
    closer = threading.Thread(target=pipeline.close, args=(SECONDS,))
    closer.start()
    go_on.set()
    closer.join(SECONDS)
    consumer.join(SECONDS)
    assert not closer.is_alive()
    assert not consumer.is_alive()


def test_epochs_that_are_left_early_disturb_none_and_threads_of_the_trial_end() -> None:
    with make(shuffle=False) as pipeline:
        for _ in range(3):
            assert next(iter(pipeline))["n"].tolist() == [0, 1, 2, 3]
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(LENGTH))
    gc.collect()


@pytest.mark.parametrize("wrong", ["either", "", 3])
def test_another_kind_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="'processes', 'threads', 'ray', 'auto'"):
        make(workers=wrong)
