"""What a running pipeline tells its user unasked: each hint when it is right, once, and silently otherwise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import ConcatSource, Pipeline
from datarax_mp.core.spec import Layout
from datarax_mp.monitoring.hints.look import Look
from datarax_mp.monitoring.hints.table import HINTS
from datarax_mp.monitoring.hints.teller import Teller
from datarax_mp.monitoring.stats import Stats, Times
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.ring.limits import Room
from tests.fakes import FakeClock
from tests.machine import without_the_machine

DECODE = "MapElement(decode)"


def times(mean: float, count: int) -> Times:
    return Times(count, mean * count, mean, mean, mean)


def stats(*, waited: float, away: float, made: float, count: int = 1000, part: str = DECODE, **others: Any) -> Stats:
    parts = {part: times(0.9 * made, 5), "collate": times(0.1 * made, 5)}
    looked = {"looked": times(made, 5), "parts": parts, "batches": count}
    return Stats(waited=times(waited, count), away=times(away, count), made=times(made, count), **looked, **others)  # type: ignore[arg-type]


def look(found: Stats | None = None, **others: Any) -> Look:
    """A pipeline about which there is nothing to say, but for what is given."""
    usual = {"source": [1], "by_record": True, "batch_size": 8, "layouts": None, "room": None}
    return Look(found or stats(waited=0, away=0.01, made=0.001, workers=1, cores=8), **usual | others)  # type: ignore[arg-type]


def said(name: str, seen: Look) -> str | None:
    """What one hint says; the others have nothing to say."""
    others = [other for other in HINTS if other != name and HINTS[other](seen) is not None]
    assert others == []
    return HINTS[name](seen)


def test_more_workers_than_cores_are_told_if_they_wait_for_cores() -> None:
    slow = {"waited": 0.01, "away": 0.001, "made": 0.04, "computing": 0.5, "cores": 2}
    assert "num_workers=3 would be as quick" in str(said("cores", look(stats(**slow, workers=8, starving=0.4))))
    assert "2 of them keep these busy" in str(said("cores", look(stats(**slow, workers=8, spare=6))))
    assert said("cores", look(stats(**slow, workers=8, starving=0.05))) is None  # they wait for a disk
    assert said("cores", look(stats(**slow, workers=2, starving=0.4))) is None  # other programs' fault
    assert said("cores", look(stats(**slow, workers=8, starving=0.4, count=10))) is None  # too early to say


def test_stages_that_bind_the_one_thread_there_is_are_told() -> None:
    slow = {"waited": 0.02, "away": 0.005, "made": 0.02, "cores": 8}
    told = str(said("workers", look(stats(**slow, workers=0))))
    assert "waits 80% of its time" in told
    assert "stage MapElement(decode) takes 90%" in told
    assert "num_workers=4 would be some 5.0 times as fast" in told
    assert said("workers", look(stats(**slow, workers=1))) is None
    assert said("workers", look(stats(**slow, workers=0, count=100))) is None  # for two seconds
    assert said("workers", look(stats(**slow | {"cores": 1}, workers=0))) is None
    assert said("workers", look(stats(waited=0.002, away=0.005, made=0.002, workers=0, cores=8))) is None
    assert said("workers", look(stats(waited=0.0001, away=0, made=0.0001, count=100_000, workers=0, cores=8))) is None
    assert said("workers", look(stats(**slow, workers=0, part="collate"))) is None


def layouts(value: np.ndarray, *, x64: bool | None = None) -> Layouts:
    layout = Layout.of({"image": value}, number=0, batch_size=2, x64=x64)
    return Layouts(layout, layout)


def test_images_of_float64_are_told_and_other_arrays_of_it_are_not() -> None:
    wide = np.zeros((40, 40, 3))
    told = str(said("float64", look(layouts=layouts(wide))))
    assert "field 'image' holds images (40, 40, 3) of float64" in told
    assert "JAX gets it as float32" in str(said("float64", look(layouts=layouts(wide, x64=False))))
    assert said("float64", look(layouts=layouts(np.zeros((3, 40, 40))))) is not None
    others: list[np.ndarray] = [wide.astype(np.float32), np.zeros((40, 40)), np.zeros((40, 40, 7)), np.zeros((4, 4, 3))]
    for other in others:
        assert said("float64", look(layouts=layouts(other))) is None


def test_little_memory_is_told() -> None:
    told = said("memory", look(room=Room(40_000_000, "the memory limit of its control group", 1_000_000_000)))
    assert str(told).startswith("40 MB of 1000 are left within the memory limit of its control group;")
    assert said("memory", look(room=Room(400_000_000, "the machine", 1_000_000_000))) is None


class Several:
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, number: int) -> Any:
        return {"x": number}

    def __getitems__(self, numbers: list[int]) -> Any:
        return [self[number] for number in numbers]


class Doubled(Several):
    def __getitem__(self, number: int) -> Any:
        return {"x": 2 * number}


class Writes:
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, number: int) -> Any:
        return {"x": number}

    def read_into(self, numbers: Any, out: Any) -> None:
        out["x"][...] = numbers


def test_a_way_to_several_records_that_is_not_used_is_told_where_reading_takes_long() -> None:
    reads = stats(waited=0, away=0.01, made=0.005, workers=1, cores=8, part="read")
    assert "Write a __getitems__ in Doubled, too" in str(said("rows", look(reads, source=Doubled())))
    within = ConcatSource([Several(), Doubled()])
    assert "__getitems__ of Doubled is not used" in str(said("rows", look(reads, source=within)))
    assert said("rows", look(reads, source=Several())) is None
    assert said("rows", look(reads, source=Doubled(), batch_size=1)) is None
    assert said("rows", look(source=Doubled())) is None  # the stages are what takes long
    few = stats(waited=0, away=0.01, made=0.005, workers=1, cores=8, part="read", count=10)
    assert said("rows", look(few, source=Doubled())) is None


def test_a_source_that_writes_whole_records_is_told_of_stages_that_rule_that_out() -> None:
    reads = stats(waited=0, away=0.01, made=0.005, workers=1, cores=8, part="read")

    assert "read_into of Writes" in str(said("rows", look(reads, source=Writes())))
    assert said("rows", look(reads, source=Writes(), by_record=False)) is None


def test_a_first_batch_that_takes_long_is_told_with_what_took_longest() -> None:
    long = {"workers": 0.5, "loading": 14.0, "record": 2.0, "batch": 1.0}
    told = str(said("start", look(Stats(start=long))))
    assert told.startswith("the first batch came after 17.5 s: 14 s for what workers import and load, 2 s")
    assert "-X importtime" in told
    assert said("start", look(Stats(start=long | {"loading": 1.0}))) is None


def slow(record: Any) -> Any:
    time.sleep(0.05)
    return {"x": record}


@pytest.mark.parametrize("how", [{"num_workers": 0}, {"num_workers": 1}, {"num_workers": 1, "workers": "threads"}])
def test_a_pipeline_knows_what_its_first_batch_was_spent_on(how: dict[str, Any]) -> None:
    with Pipeline(source=np.arange(4), batch_size=2, stages=[slow], output="numpy", **how) as pipeline:
        assert pipeline.stats().start == {}
        assert len(list(pipeline)) == 2
        first = pipeline.stats().start
        assert sorted(first) == ["batch", "loading", "record", "workers"]
        assert first["record"] >= 0.05
        assert len(list(pipeline)) == 2
        assert pipeline.stats().start == first


def always(seen: Look) -> str | None:
    return "something"


@pytest.fixture
def teller() -> tuple[Teller, FakeClock, list[Look]]:
    clock = FakeClock()
    return Teller("Photographs", clock, {"cores": always, "rows": lambda seen: None}, set()), clock, []


def test_a_hint_is_told_once_with_the_way_to_silence_it(
    teller: tuple[Teller, FakeClock, list[Look]], caplog: pytest.LogCaptureFixture
) -> None:
    told, clock, _ = teller
    for _ in range(3):
        told.tell(look)
        clock.now += 60
    assert caplog.messages == [
        'Photographs: something (logging.getLogger("datarax_mp.hints.cores").setLevel("ERROR") silences this)'
    ]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("silenced", ["datarax_mp.hints", "datarax_mp.hints.cores"])
def test_hints_are_silenced_all_together_and_one_by_one(
    silenced: str, teller: tuple[Teller, FakeClock, list[Look]], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger(silenced)
    logger.setLevel("ERROR")
    try:
        teller[0].tell(look)
    finally:
        logger.setLevel(logging.NOTSET)
    assert caplog.messages == []


def test_between_two_looks_there_are_some_seconds(teller: tuple[Teller, FakeClock, list[Look]]) -> None:
    _, clock, looks = teller
    told = Teller("Photographs", clock, {"rows": lambda seen: looks.append(seen)}, set())
    for seconds in (0, 1, 3, 2, 1, 6):
        clock.now += seconds
        told.tell(look)
    assert len(looks) == 3


def test_a_pipeline_tells_at_its_first_batch_and_another_of_its_name_does_not_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Photographs:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, number: int) -> Any:
            return {"image": np.zeros((32, 48, 3)), "label": np.float64(number)}

    for _ in range(2):
        with Pipeline(source=Photographs(), batch_size=2, output="numpy") as pipeline:
            assert len(list(pipeline)) == len(list(pipeline)) == 2
    [message] = without_the_machine(caplog.messages)
    assert "datarax_mp.hints.float64" in message


@pytest.mark.parametrize("make", [lambda: Doubled(), lambda: np.zeros((9, 3)), lambda: [np.zeros((8, 8, 3))] * 9])
def test_an_ordinary_pipeline_is_told_nothing(make: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    with Pipeline(source=make(), batch_size=2, num_workers=1, output="numpy") as pipeline:
        assert next(iter(pipeline)) is not None
    assert without_the_machine(caplog.messages) == []
