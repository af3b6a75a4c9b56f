from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from flax import nnx

from datarax_mp import MapElement, MemorySource, MemorySourceConfig, Pipeline


def make(workers: int = 2, *, seed: int = 0, length: int = 50, batch_size: int = 8, **more: Any) -> Pipeline:
    config = MemorySourceConfig(shuffle=True)
    source = MemorySource(config, {"n": np.arange(length)}, rngs=nnx.Rngs(seed))
    return Pipeline(source=source, batch_size=batch_size, num_workers=workers, **more)


def numbers(batches: Any) -> list[list[int]]:
    return [np.asarray(batch["n"]).tolist() for batch in batches]


def whole(epochs: int) -> list[list[int]]:
    with make(0) as pipeline:
        return [batch for _ in range(epochs) for batch in numbers(pipeline)]


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 3), (2, 1)])
@pytest.mark.parametrize("taken", [0, 1, 3, 6, 7])
def test_a_run_goes_on_exactly_where_it_stopped(before: int, after: int, taken: int) -> None:
    with make(before) as pipeline:
        numbers(pipeline)
        iterator = iter(pipeline)
        received = [next(iterator) for _ in range(taken)]
        state = json.loads(json.dumps(pipeline.get_state()))
        assert state == iterator.get_state()
    assert state["step"] == len(received)
    assert len(json.dumps(state)) < 2000
    with make(after, prefetch_size=0, output="numpy") as pipeline:
        pipeline.set_state(state)
        assert pipeline.get_state() == state
        rest = numbers(pipeline) + numbers(pipeline)
    assert rest == whole(3)[7 + taken :]


def test_a_finished_epoch_is_the_start_of_the_next() -> None:
    with make() as pipeline:
        numbers(pipeline)
        state = pipeline.get_state()
        assert (state["epoch"], state["step"]) == (1, 0)
    with make() as pipeline:
        pipeline.set_state(state)
        assert numbers(pipeline) == whole(2)[7:]


def test_an_iterator_can_be_set_back() -> None:
    with make() as pipeline:
        iterator = iter(pipeline)
        next(iterator)
        state = iterator.get_state()
        rest = numbers(iterator)
        iterator.set_state(state)
        assert numbers(iterator) == rest == whole(1)[1:]


def test_a_state_carries_the_seed() -> None:
    with make(seed=0) as pipeline:
        iterator = iter(pipeline)
        next(iterator)
        state = pipeline.get_state()
        rest = numbers(iterator)
    with make(seed=99) as pipeline:
        pipeline.set_state(state)
        resumed = list(pipeline)
        assert numbers(resumed) == rest
        assert [item.index for item in resumed[0].metadata] == rest[0]


def test_single_elements_resume_too() -> None:
    with make(enforce_batch=False) as pipeline:
        iterator = iter(pipeline)
        for _ in range(13):
            next(iterator)
        state = pipeline.get_state()
    with make(0, enforce_batch=False) as pipeline:
        pipeline.set_state(state)
        assert [n for element in pipeline for n in [int(element["n"])]] == [n for b in whole(1) for n in b][13:]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"length": 51}, "length: the state has 50, this pipeline has 51"),
        ({"batch_size": 4}, "batch_size: the state has 8, this pipeline has 4"),
        ({"drop_last": True}, "drop_last: the state has False, this pipeline has True"),
        ({"shuffle": False}, "shuffle: the state has True, this pipeline has False"),
        ({"stages": [MapElement(lambda record: record)]}, r"stages: the state has \[\], this pipeline has \['MapElem"),
    ],
)
def test_a_state_of_another_pipeline_is_an_error_that_names_what_differs(other: Any, message: str) -> None:
    with make() as pipeline:
        state = pipeline.get_state()
    with make(**other) as pipeline, pytest.raises(ValueError, match=message):
        pipeline.set_state(state)


def test_what_is_no_state_is_an_error() -> None:
    with make() as pipeline:
        with pytest.raises(TypeError, match="get_state"):
            pipeline.set_state({})
        with pytest.raises(ValueError, match="version 99"):
            pipeline.set_state({**pipeline.get_state(), "version": 99})
        with pytest.raises(ValueError, match="step 1000"):
            pipeline.set_state({**pipeline.get_state(), "step": 1000})
