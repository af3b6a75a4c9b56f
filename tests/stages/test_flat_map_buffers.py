"""Sources and functions that write one record after the other to the same memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from datarax_mp import FlatMap, Pipeline
from tests.ways import WAYS, ways


class Source:
    """Ten numbers a record, which lie in one buffer for all records."""

    def __init__(self) -> None:
        self.buffer = np.zeros(10, np.int64)

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.buffer[:] = np.arange(10) + 10 * number
        return {"x": self.buffer}


class Numbers:
    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": number}


class Item(NamedTuple):
    x: Any


def as_dict(x: Any) -> Any:
    return {"x": x}


def as_nested(x: Any) -> Any:
    return {"x": {"deep": x}}


def numbers_in(pipeline: Any) -> list[int]:
    found = []
    for batch in pipeline:
        rows = batch["x"]["deep"] if isinstance(batch["x"], dict) else batch["x"]
        found += rows[:, 0].tolist()
    return found


@ways
@pytest.mark.parametrize("item", [as_dict, as_nested, Item, np.asarray])
def test_a_generator_may_write_all_its_items_to_one_array(item: Any, way: str) -> None:
    def items(record: dict[str, Any]) -> Iterator[Any]:
        buffer = np.zeros(1, np.int64)
        for place in range(3):
            buffer[0] = 3 * record["n"] + place
            yield item(buffer)

    stages = [FlatMap(items, most=3)]
    if item is np.asarray:
        stages.append(as_dict)
    with Pipeline(source=Numbers(), batch_size=8, stages=stages, output="numpy", **WAYS[way]) as pipeline:
        assert numbers_in(pipeline) == list(range(60))


def test_a_generator_may_give_one_dict_again_and_again() -> None:
    def items(record: dict[str, Any]) -> Iterator[Any]:
        item: dict[str, Any] = {}
        for place in range(3):
            item["x"] = [3 * record["n"] + place]
            yield item

    with Pipeline(source=Numbers(), batch_size=8, stages=[FlatMap(items, most=3)], output="numpy") as pipeline:
        assert numbers_in(pipeline) == list(range(60))


@ways
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_source_may_read_the_next_record_to_where_items_of_another_lie(way: str, shuffle: bool) -> None:
    def items(record: dict[str, Any]) -> list[Any]:
        return [{"x": record["x"][place : place + 1]} for place in range(10)]

    options: dict[str, Any] = {"batch_size": 50, "shuffle": shuffle, "seed": 3, "output": "numpy", **WAYS[way]}
    with Pipeline(source=Source(), stages=[FlatMap(items, most=10)], **options) as pipeline:
        found = numbers_in(pipeline)
    with Pipeline(source={"x": np.arange(200)[:, None]}, **{**options, "num_workers": 0}) as expected:
        assert found == numbers_in(expected)
    assert shuffle == (found != sorted(found))


def test_records_are_read_once_for_all_their_items_in_a_batch() -> None:
    read: list[int] = []

    class Counting(Source):
        def __getitem__(self, number: int) -> dict[str, Any]:
            read.append(number)
            return super().__getitem__(number)

    def items(record: dict[str, Any]) -> list[Any]:
        return [{"x": record["x"][place : place + 1]} for place in range(10)]

    with Pipeline(
        source=Counting(), batch_size=200, shuffle=True, seed=3, stages=[FlatMap(items, most=10)], output="numpy"
    ) as pipeline:
        epoch = iter(pipeline)
        read.clear()
        [batch] = epoch
    assert sorted(batch["x"][:, 0].tolist()) == list(range(200))
    assert sorted(read) == list(range(20))
