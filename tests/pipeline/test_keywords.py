"""Who comes from another loader is told what things are called here."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

from datarax_mp import DeviceStage, MapBatch, MapElement, MemorySource, Pipeline
from datarax_mp.pipeline.keywords import OURS

DATA = {"x": np.arange(20)}


def make(**more: Any) -> Pipeline:
    return Pipeline(**{"source": DATA, "batch_size": 4, **more})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"collate_fn": list}, r"no argument 'collate_fn'; here: stages=\[\.\.\., MapBatch\(fn\)\]"),
        ({"worker_init_fn": print}, "no argument 'worker_init_fn'; here: worker_init="),
        ({"drop_remainder": True}, "no argument 'drop_remainder'; here: drop_last="),
        ({"pin_memory": True}, "no argument 'pin_memory'; here: nothing"),
        ({"persistent_workers": True}, "no argument 'persistent_workers'; here: nothing: workers stay warm"),
        ({"shuffle_buffer_size": 1000}, "here: shuffle=True"),
        ({"prefetch_factor": 4}, "here: prefetch_size="),
        ({"indices": [1]}, r"here: sampler=IndexSampler"),
        ({"batch_sampler": None}, "here: batch_size= with sampler="),
        ({"repeat": 3}, "here: num_epochs="),
        ({"transforms": []}, r"here: stages=\[\.\.\.\]"),
        ({"num_worker": 3}, "no argument 'num_worker'; here: num_workers= is"),
        ({"prefetchsize": 3}, "here: prefetch_size= is"),
        ({"zzz": 3}, "no argument 'zzz'; here: there are source, batch_size, stages"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_foreign_argument_is_an_error_that_names_ours(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(**given)


def test_several_foreign_arguments_are_told_at_once() -> None:
    with pytest.raises(TypeError, match=r"(?s)'dataset'; here: source=.*'drop_remainder'; here: drop_last="):
        Pipeline(dataset=DATA, batch_size=4, drop_remainder=True)  # type: ignore[call-arg]


def test_arguments_without_a_name_are_an_error_that_shows_how() -> None:
    with pytest.raises(TypeError, match=r"got 2 without a name: Pipeline\(source=\.\.\., batch_size=\.\.\.\)"):
        Pipeline(DATA, 4)  # type: ignore[misc]


def test_what_is_ours_is_not_foreign_and_what_is_named_is_there() -> None:
    known = inspect.signature(Pipeline).parameters
    assert not OURS.keys() & known.keys()
    assert "source" in known
    for name, ours in OURS.items():
        for named in re.findall(r"\b([a-z_]+)=", ours):
            assert named in known, (name, named)
        assert name == name.lower()


class Scale:
    def map(self, record: Any) -> Any:
        return record


@pytest.mark.parametrize(
    "stages",
    [lambda record: record, MapElement(dict), MapBatch(dict), DeviceStage(dict), Scale(), "normalise", {}, {dict}, 3],
    ids=lambda stages: type(stages).__name__,
)
def test_one_stage_alone_is_an_error_that_asks_for_a_list(stages: Any) -> None:
    with pytest.raises(TypeError, match=r"stages must be a list of stages, got .*stages=\[\.\.\.\]"):
        make(stages=stages)


def test_no_stages_are_left_out() -> None:
    with pytest.raises(TypeError, match="got None of type NoneType; leave it out for none"):
        make(stages=None)
    for none in ((), [], iter([])):
        assert len(list(make(stages=none))) == 5


def test_no_batch_size_is_an_error_that_names_single_records() -> None:
    with pytest.raises(TypeError, match="got None; for single records set enforce_batch=False"):
        make(batch_size=None)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_pipeline_was_made_of_can_be_read(workers: int) -> None:
    source = list(np.arange(20))
    with make(num_workers=workers) as pipeline, make(source=source, enforce_batch=False) as single:
        assert (pipeline.batch_size, pipeline.num_workers, pipeline.epoch) == (4, workers, 0)
        assert isinstance(pipeline.source, MemorySource)
        assert (single.batch_size, len(single)) == (4, 20)
        with pytest.raises(AttributeError):
            pipeline.batch_size = 5  # type: ignore[misc]
    with make(source=pipeline.source) as again:
        assert again.source is pipeline.source


@pytest.mark.parametrize("workers", [0, 2])
def test_the_epoch_is_the_one_that_the_loop_is_in(workers: int) -> None:
    with make(num_workers=workers) as pipeline:
        for epoch in range(3):
            for batch in pipeline:
                assert pipeline.epoch == batch.metadata[0].epoch == epoch
        assert pipeline.epoch == 3
        next(iter(pipeline))
        state = pipeline.get_state()
        assert pipeline.epoch == state["epoch"] == 3
    with make(num_workers=workers) as pipeline:
        pipeline.set_state(state)
        assert pipeline.epoch == 3


def test_auto_says_how_many_workers_there_may_be() -> None:
    with make(num_workers="auto") as pipeline:
        assert pipeline.num_workers >= 1
