"""The global random generators in the user's code: one stream for any number of workers, and main's own left alone."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from datarax_mp import MapBatch, Pipeline, ShardOptions
from tests.processes import SECONDS

RECORDS = 60


class Noisy:
    """A source that draws whenever a record is read."""

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"number": number, "source": np.random.rand(), "python": random.random()}


def noisy(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "stage": np.random.normal(), "gauss": random.gauss(0, 1)}


def noisy_batch(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "batch": batch["stage"] + np.random.rand(len(batch["stage"]))}


def torch_noise(record: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {**record, "torch": torch.rand(2).numpy()}


def cv2_noise(record: dict[str, Any]) -> dict[str, Any]:
    import cv2

    return {**record, "cv2": cv2.randu(np.zeros(2, np.float32), 0, 1).ravel()}


def epochs(workers: int, *stages: Any, count: int = 2, **options: Any) -> list[dict[str, np.ndarray]]:
    options = {"source": Noisy(), "batch_size": 7, "rngs": np.random.default_rng(3)} | options
    with Pipeline(stages=stages, num_workers=workers, output="numpy", **options) as pipeline:
        return [joined(pipeline) for _ in range(count)]


def joined(batches: Any) -> dict[str, np.ndarray]:
    found = [{name: np.array(value) for name, value in batch.items()} for batch in batches]
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def same(one: Any, other: Any) -> bool:
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_stream_is_the_same_for_every_number_of_workers(shuffle: bool) -> None:
    stages = noisy, MapBatch(noisy_batch)
    expected = epochs(0, *stages, shuffle=shuffle)
    for workers in (1, 2, 4):
        assert same(epochs(workers, *stages, shuffle=shuffle), expected)
    for name in ("source", "python", "stage", "gauss", "batch"):
        assert len(np.unique([epoch[name] for epoch in expected])) == 2 * RECORDS


@pytest.mark.parametrize(("library", "stage"), [("torch", torch_noise), ("cv2", cv2_noise)])
def test_a_library_that_a_stage_imports_is_seeded_from_its_first_step_on(library: str, stage: Any) -> None:
    pytest.importorskip(library)
    expected = epochs(2, stage)
    assert len(np.unique([epoch[library] for epoch in expected])) == 2 * 2 * RECORDS
    assert same(epochs(0, stage), expected)


def test_global_arrays_that_share_an_epoch_draw_different_numbers() -> None:
    drawn = [
        epochs(workers, noisy, count=1, shard=ShardOptions(index, 2), drop_last=True)[0]["stage"]
        for index, workers in enumerate((0, 2))
    ]
    assert len(np.unique(drawn)) == 2 * 28


def test_seeds_differ_and_none_is_one_of_its_own() -> None:
    drawn = [epochs(0, noisy, count=1, rngs=rngs)[0] for rngs in (None, None, *map(np.random.default_rng, (1, 2)))]
    assert same(drawn[:1], drawn[1:2])
    assert len(np.unique([epoch["stage"] for epoch in drawn])) == 3 * RECORDS


def test_an_epoch_that_is_resumed_goes_on_with_the_same_numbers() -> None:
    def make(workers: int) -> Pipeline:
        return Pipeline(
            source=Noisy(), batch_size=7, stages=[noisy], rngs=np.random.default_rng(3), num_workers=workers,
            output="numpy",
        )  # fmt: skip

    with make(2) as pipeline:
        iterator = iter(pipeline)
        for _ in range(3):
            next(iterator)
        state = iterator.get_state()
        rest = joined(iterator)
    with make(0) as pipeline:
        pipeline.set_state(state)
        assert same([joined(pipeline)], [rest])


def _states() -> list[Any]:
    return [np.random.get_state(), random.getstate()]


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64])
def test_mains_own_generators_are_left_alone(bits: Any) -> None:
    pytest.importorskip("torch").manual_seed(5)
    # Made first, because that imports JAX, which draws from NumPy's generator when it is imported.
    pipeline = Pipeline(source=Noisy(), batch_size=7, stages=[noisy, torch_noise], output="numpy")
    random.seed(7)
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(bits(3))
    try:
        np.random.standard_normal()  # half of a pair: the other half is part of the state
        expected = _numbers()
        np.random.set_bit_generator(mine := bits(3))
        np.random.standard_normal()
        random.seed(7)
        sys.modules["torch"].manual_seed(5)
        for _ in pipeline:
            pass
        assert np.random.get_bit_generator() is mine
        assert _numbers() == expected
    finally:
        np.random.set_bit_generator(before)


def _numbers() -> list[float]:
    torch = sys.modules["torch"]
    return [np.random.standard_normal(), np.random.rand(), random.random(), random.gauss(0, 1), float(torch.rand(1))]


def test_they_are_left_alone_when_a_stage_raises() -> None:
    def fails(record: Any) -> Any:
        np.random.seed(1)
        raise ValueError("no")

    before = np.random.rand, np.random.get_state()[1].tolist()
    with pytest.raises(ValueError, match="no"):
        iter(Pipeline(source=Noisy(), batch_size=7, stages=[fails], output="numpy"))
    assert np.random.get_state()[1].tolist() == before[1]


def test_a_stage_that_seeds_for_itself_disturbs_nobody_else() -> None:
    def seeds(record: dict[str, Any]) -> dict[str, Any]:
        if record["number"] == 20:
            np.random.seed(0)
        return record

    expected = epochs(0, seeds, noisy)
    assert same(epochs(2, seeds, noisy), expected)
    plain = epochs(0, noisy)[0]["stage"]
    assert np.array_equal(np.delete(expected[0]["stage"], range(14, 21)), np.delete(plain, range(14, 21)))


class Quiet:
    """A source that draws for some records only, not for the first."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.reads += 1
        draws = number % 20 == 13
        return {"number": number, "x": np.random.rand() if draws else 0.0, "y": random.random() if draws else 0.0}


def test_code_that_seldom_draws_gives_the_same_stream_too_and_leaves_main_alone() -> None:
    before = _states()
    expected = epochs(0, source=Quiet())
    assert all(map(np.array_equal, _states()[0], before[0])) and _states()[1:] == before[1:]
    assert len(np.unique([epoch["x"] for epoch in expected])) == 1 + 2 * 3
    assert len(np.unique([epoch["y"] for epoch in expected])) == 1 + 2 * 3
    for workers in (1, 3):
        assert same(epochs(workers, source=Quiet()), expected)


def test_no_record_is_read_twice_because_of_its_draws() -> None:
    class Counts(Noisy):
        reads = 0

        def __getitem__(self, number: int) -> dict[str, Any]:
            type(self).reads += 1
            return super().__getitem__(number) | {"reads": type(self).reads}

    for workers in (0, 1):
        epoch = epochs(workers, source=Counts(), count=1)[0]
        assert sorted(epoch["reads"].tolist()) == list(range(2, RECORDS + 2)), "one to learn the layout"
        Counts.reads = 0


def _in_a_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.mark.parametrize("source", [Noisy, Quiet])
def test_a_thread_of_its_own_gives_the_same_stream_too_and_leaves_main_alone(source: Callable[[], Any]) -> None:
    expected, before = epochs(0, source=source()), _states()
    found = _in_a_thread(lambda: epochs(0, source=source()))
    assert same(found, expected)
    assert all(map(np.array_equal, _states()[0], before[0])) and _states()[1:] == before[1:]


def test_what_main_draws_while_another_thread_makes_a_batch_is_not_drawn_again() -> None:
    reading, drawn = threading.Event(), threading.Event()

    def waits(record: dict[str, Any]) -> dict[str, Any]:
        if record["number"] == 9:
            reading.set()
            assert drawn.wait(SECONDS)
        return record

    def draw() -> tuple[float, float]:
        return np.random.rand(), random.random()

    numbers = [{"number": number} for number in range(RECORDS)]
    state = _states()
    try:
        np.random.seed(1)
        random.seed(1)
        expected = [draw(), draw()]
        np.random.seed(1)
        random.seed(1)
        with Pipeline(source=numbers, batch_size=7, stages=[waits], output="numpy") as pipeline:
            with ThreadPoolExecutor(1) as pool:
                stream = pool.submit(joined, pipeline)
                assert reading.wait(SECONDS)
                found = [draw()]
                drawn.set()
                assert stream.result()["number"].tolist() == list(range(RECORDS))
            assert [*found, draw()] == expected
    finally:
        drawn.set()
        np.random.set_state(state[0])
        random.setstate(state[1])
