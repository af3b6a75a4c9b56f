from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import ConcatSource, MemorySource, MemorySourceConfig, MixSource, Pipeline


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_records_are_counted_through(lengths: list[int], data: st.DataObject) -> None:
    total, sources, begin = sum(lengths), list[Any](), 0
    for place, length in enumerate(lengths):
        values = np.arange(begin, begin + length)
        sources.append({"x": values} if place % 2 else [{"x": value} for value in values])
        begin += length
    source = ConcatSource(sources)
    assert [int(source[number]["x"]) for number in range(total)] == list(range(total))
    assert source[-1]["x"] == total - 1
    numbers = data.draw(st.lists(st.integers(0, total - 1), min_size=1))
    found = source.__getitems__(numbers)
    assert [int(x) for x in (found["x"] if isinstance(found, dict) else [record["x"] for record in found])] == numbers


def test_columns_that_are_not_alike_come_as_records() -> None:
    source = ConcatSource([{"x": np.arange(2)}, {"x": np.arange(2, dtype=np.float32)}, {"x": ["text"]}, {"y": [1]}])
    found = source.__getitems__([4, 3, 0, 5])
    assert found == [{"x": "text"}, {"x": 1.0}, {"x": 0}, {"y": 1}]


@pytest.mark.parametrize("numbers", [[5], [-1]])
def test_a_number_outside_is_an_error(numbers: list[int]) -> None:
    with pytest.raises(IndexError, match=f"record {numbers[0]} is outside of the 2 records"):
        ConcatSource([[1], [2]]).__getitems__(numbers)


def test_it_shuffles_over_all_if_one_of_its_sources_does() -> None:
    shuffled = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(50)}, rngs=np.random.default_rng(0))
    source = ConcatSource([{"x": np.arange(50, 100)}, shuffled])
    streams = []
    for workers in (0, 2):
        shuffled.rngs = np.random.default_rng(0)
        with Pipeline(source=source, batch_size=10, output="numpy", num_workers=workers) as pipeline:
            streams.append([x for batch in pipeline for x in batch["x"].tolist()])
    assert streams[0] == streams[1]
    assert sorted(streams[0]) == list(range(100)) != streams[0]
    assert min(streams[0][:10]) < 50 <= max(streams[0][:10])


def test_a_mixture_would_lose_its_weights() -> None:
    with pytest.raises(ValueError, match="source 1 of ConcatSource is a MixSource.*would lose that"):
        ConcatSource([[1], MixSource([[1]], [1])])
