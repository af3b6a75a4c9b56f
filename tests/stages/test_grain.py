"""Grain's own transforms, as stages and as errors that name ours."""

from __future__ import annotations

from typing import Any

import grain.python as grain
import numpy as np
import pytest
from grain.experimental import FlatMapTransform

from datarax_mp import Pipeline

DATA = {"x": np.arange(20)}

both = pytest.mark.parametrize("workers", [0, 2])


class Double(grain.MapTransform):
    def map(self, element: Any) -> Any:
        return {"x": element["x"] * 2}


class Noise(grain.RandomMapTransform):
    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        return {**element, "noise": rng.random()}


class Even(grain.FilterTransform):
    def filter(self, element: Any) -> bool:
        return bool(element["x"] % 2 == 0)


class Numbered(grain.MapWithIndexTransform):
    def map_with_index(self, index: int, element: Any) -> Any:
        return {**element, "index": index}


class Twice(FlatMapTransform):
    max_fan_out = 2

    def flat_map(self, element: Any) -> list[Any]:
        return [element, element]


@both
def test_flat_map_is_taken_with_its_fan_out(workers: int) -> None:
    with Pipeline(source=DATA, batch_size=4, stages=[Even(), Twice()], num_workers=workers) as pipeline:
        assert [batch["x"].tolist() for batch in pipeline][:2] == [[0, 0, 2, 2], [4, 4, 6, 6]]


@both
def test_map_random_map_and_filter_are_taken(workers: int) -> None:
    stages = [Even(), Double(), Noise()]
    rngs = np.random.default_rng(0)
    with Pipeline(source=DATA, batch_size=4, stages=stages, num_workers=workers, rngs=rngs) as pipeline:
        batches = list(pipeline)
        assert [batch["x"].tolist() for batch in batches] == [[0, 4, 8, 12], [16, 20, 24, 28], [32, 36]]
        assert len({float(value) for batch in batches for value in batch["noise"]}) == 10
        stages_told = pipeline.get_state()["fingerprint"]["stages"]
    assert stages_told == ["Filter(Even)", "MapElement(Double)", "RandomMapElement(Noise)"]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Numbered(), r"stages\[0\] of type Numbered is Grain's MapWithIndex: .*batch.metadata\[row\].index"),
        (grain.Batch(8, drop_remainder=True), r"is Grain's Batch: .*Pipeline\(batch_size=8, drop_last=True\)"),
        (grain.BatchOperation(8), "is Grain's BatchOperation: the pipeline makes batches"),
        (grain.MapOperation(lambda x: x), "is Grain's MapOperation: it works on an iterator"),
        (grain.FilterOperation(lambda x: True), "is Grain's FilterOperation: it works on an iterator"),
        (grain.MapDataset.source([1]), "is Grain's .*Dataset: it is a data set"),
        (grain.MapDataset.source([1]).to_iter_dataset(), "it is a data set"),
        (grain.NoSharding(), "of Grain's transforms, Map, RandomMap, Filter and FlatMap are taken"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_transform_is_an_error_that_names_ours(stage: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pipeline(source=DATA, batch_size=4, stages=[stage])


def test_somebody_elses_filter_is_none_of_grains() -> None:
    class Sieve:
        def filter(self, record: Any) -> bool:
            return False

        def __call__(self, record: Any) -> Any:
            return record

    with Pipeline(source=DATA, batch_size=4, stages=[Sieve()]) as pipeline:
        assert len(list(pipeline)) == 5
