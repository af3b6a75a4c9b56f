from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from datarax_mp import MapElement, Pipeline, RandomMapElement
from datarax_mp.testing import assert_same_stream, check_resume


def pipeline(**changes: Any) -> Pipeline:
    source = [{"x": np.full(2, n), "deep": {"text": f"t{n}"}} for n in range(11)]
    return Pipeline(**{"source": source, "batch_size": 4, "shuffle": True, "seed": 1, **changes})


def noisy(record: Any, rng: np.random.Generator) -> Any:
    return {**record, "noise": rng.random()}


@pytest.mark.parametrize("output", ["jax", "numpy"])
def test_equal_streams_pass_whoever_makes_them(output: Any) -> None:
    stages = [RandomMapElement(noisy)]
    with (
        pipeline(stages=stages, output=output) as one,
        pipeline(stages=stages, output=output, num_workers=2, prefetch_size=0) as other,
    ):
        assert_same_stream(one, other, epochs=3)
    assert_same_stream(pipeline(enforce_batch=False), pipeline(enforce_batch=False))


def changed(record: Any) -> Any:
    return {**record, "x": record["x"] + (record["x"] == 3)}


def retold(record: Any) -> Any:
    return {**record, "deep": {"text": record["deep"]["text"].replace("t7", "seven")}}


def renamed(record: Any) -> Any:
    return {"y": record["x"], "deep": record["deep"]}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 2}, r"epoch 0, step 0: field 'x' differs in \d of 4 rows, first in row \d: \[\d+ \d+\] in the first"),
        ({"batch_size": 5}, r"field 'x' differs: int32 of shape \(4, 2\) in the first, int32 of shape \(5, 2\)"),
        ({"drop_last": True}, "epoch 0, step 2: the second stream has ended, and the other one goes on"),
        ({"stages": [MapElement(changed)]}, "field 'x' differs in 1 of 4 rows"),
        ({"stages": [MapElement(retold)]}, r"field 'deep/text' differs: \[.*'t7'.*seven"),
        ({"stages": [MapElement(renamed)]}, r"the fields differ: .*'x'.*'y'"),
    ],
)
def test_what_differs_is_named(other: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_same_stream(pipeline(), pipeline(**other))


def test_records_that_look_alike_are_told_by_their_numbers() -> None:
    source = [{"x": 1}] * 9
    one, other = (Pipeline(source=source, batch_size=3, shuffle=True, seed=seed) for seed in (1, 2))
    with pytest.raises(AssertionError, match=r"batch\.metadata\[\.\.\.\]\.index"):
        assert_same_stream(one, other)


@pytest.mark.parametrize("value", [["cat", "dog"], ["cat"] * 2, {"a": ["cat"]}], ids=repr)
def test_equal_values_are_equal_whichever_objects_they_are(value: Any) -> None:
    def anew() -> Any:
        return json.loads(json.dumps(value))

    one = [{"x": n, "info": [value, value, "end"]} for n in range(8)]
    other = [{"x": n, "info": [anew(), anew(), "end"]} for n in range(8)]
    assert_same_stream(Pipeline(source=one, batch_size=4), Pipeline(source=other, batch_size=4))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_whose_data_has_moved_to_shared_memory_gives_the_same_stream(workers: int) -> None:
    data = {"x": np.arange(8), "name": ["cat", "dog"] * 4}
    with Pipeline(source=data, batch_size=4) as one, Pipeline(source=data, batch_size=4, num_workers=workers) as other:
        assert_same_stream(one, other, epochs=2)


ORDERS = """
from datarax_mp import Pipeline
from datarax_mp.testing.contents import digests, of_batch

source = [{"x": n, "words": {f"word {n + m}" for m in range(8)}} for n in range(4)]
print([digests(of_batch(batch)) for batch in Pipeline(source=source, batch_size=4)])
"""


def test_sets_are_equal_whatever_the_order_in_which_a_process_has_their_items() -> None:
    def told(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", ORDERS], env=env, check=True, capture_output=True, text=True
        ).stdout

    assert told("1") == told("2")


def test_not_a_number_is_not_a_number_and_padding_counts() -> None:
    streams = [[{"x": np.array([1, np.nan])}], [{"x": np.array([1, np.nan])}], [{"x": np.array([np.nan, 1])}]]
    assert_same_stream(streams[0], streams[1])
    with pytest.raises(AssertionError, match="2 of 2 rows"):
        assert_same_stream(streams[0], streams[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_can_be_taken_up_anywhere_and_stands_where_it_stood(workers: int) -> None:
    with pipeline(num_workers=workers, stages=[RandomMapElement(noisy)]) as resumed:
        next(iter(resumed))
        state = resumed.get_state()
        check_resume(resumed)
        assert resumed.get_state() == state


@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_stream_without_end_an_epoch_is_taken_up(workers: int) -> None:
    with pipeline(num_workers=workers, num_epochs=None) as resumed:
        for taken in (1, 2):  # the second time it stands at the end of an epoch
            for _ in range(taken):
                resumed.step()
            state = resumed.get_state()
            check_resume(resumed)
            assert resumed.get_state() == state
    with (
        pipeline(num_epochs=None, stages=[Remembers()]) as resumed,
        pytest.raises(AssertionError, match="taken up after 0 batches"),
    ):
        check_resume(resumed)


class Vanishes:
    """A pipeline that stands in for one whose last batch is not there when it is taken up."""

    def __init__(self) -> None:
        self.whole, self.runs = pipeline(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def __iter__(self) -> Any:
        self.runs += 1
        iterator = iter(self.whole)
        if self.runs > 1 and self.whole.get_state()["step"] == len(self.whole) - 1:
            iterator.close()
        return iterator


def test_a_last_batch_that_is_missing_is_found() -> None:
    with pytest.raises(AssertionError, match="taken up after 2 batches: 1 batches are missing at the end"):
        check_resume(Vanishes())


class Remembers:
    """Counts what it has seen, which a state does not know."""

    seen = 0

    def __call__(self, record: Any) -> Any:
        self.seen += 1
        return {**record, "seen": self.seen}


def test_a_stage_that_remembers_is_found_when_a_run_is_taken_up() -> None:
    with (
        pipeline(stages=[Remembers()]) as resumed,
        pytest.raises(AssertionError, match="taken up after 0 batches, batch 0 of the epoch: field 'seen'"),
    ):
        check_resume(resumed)
