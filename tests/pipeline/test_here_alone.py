"""Pipelines and iterators stay in their process, and say what can be sent instead."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from datarax_mp import Pipeline


def doubled(record: dict[str, int]) -> dict[str, int]:
    return {"x": 2 * record["x"]}


def make(source: Any = None) -> Pipeline:
    return Pipeline(source=source or [{"x": n} for n in range(8)], batch_size=3, stages=[doubled], output="numpy")


@pytest.mark.parametrize("send", [pickle.dumps, cloudpickle.dumps, copy.copy, copy.deepcopy])
def test_neither_is_sent_or_copied(send: Callable[[Any], Any]) -> None:
    with make() as pipeline:
        iterator = iter(pipeline)
        for one in (pipeline, iterator):
            with pytest.raises(TypeError, match=f"a {type(one).__name__} can be neither .* get_state"):
                send(one)
        assert [batch["x"].tolist() for batch in iterator] == [[0, 2, 4], [6, 8, 10], [12, 14]]


def test_what_is_to_be_sent_instead_goes_on_at_the_same_place() -> None:
    with make() as pipeline:
        next(iter(pipeline))
        source, stages, state = pickle.loads(pickle.dumps((pipeline.source, pipeline.stages, pipeline.get_state())))
    with Pipeline(source=source, batch_size=3, stages=stages, output="numpy") as again:
        again.set_state(state)
        assert [batch["x"].tolist() for batch in again] == [[6, 8, 10], [12, 14]]


class Holds:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"x": number}


def test_a_source_that_holds_a_pipeline_is_told_so_where_it_would_be_sent() -> None:
    with (
        make() as inner,
        Pipeline(source=Holds(inner), batch_size=1, num_workers=1) as outer,
        pytest.raises(TypeError, match=r"pipeline cannot be sent.* Pipeline does not pickle .*can be neither pickled"),
    ):
        iter(outer)


def test_whoever_says_how_a_pipeline_of_their_own_is_made_anew_is_asked() -> None:
    source = [{"x": n} for n in range(4)]

    class OfMine(Pipeline):
        def __reduce__(self) -> Any:
            return make, (source,)

    with OfMine(source=source, batch_size=3) as pipeline, pickle.loads(pickle.dumps(pipeline)) as again:
        assert [batch["x"].tolist() for batch in again] == [[0, 2, 4], [6]]
