from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.shipping.arrival import unpack
from datarax_mp.shipping.package import Shipment

ARRAY = np.arange(1_000_000)


class Holder:
    """A data set of the user's own that holds a large array."""

    def __init__(self) -> None:
        self.array = ARRAY

    def __len__(self) -> int:
        return 100

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": self.array[number]}


def shipped(source: Any) -> Shipment:
    return Shipment(Pipeline(source=source, batch_size=2, output="numpy")._session._program, 1)


def loaded(shipment: Shipment) -> Any:
    return unpack(shipment.message(probe=None), [os.dup(fd) for fd in shipment.descriptors])


def test_a_large_array_of_the_users_own_lies_in_the_segment_once() -> None:
    shipment = shipped(Holder())
    assert ARRAY.nbytes < shipment.segments[0].size < ARRAY.nbytes + 100_000
    one, two = loaded(shipment), loaded(shipment)
    assert np.array_equal(one.source.array, ARRAY)
    one.source.array[0] = -1  # as a copy of one's own: nobody else sees it
    assert two.source.array[0] == ARRAY[0] == 0


def test_a_memory_source_is_placed_once_for_all_pipelines() -> None:
    source = MemorySource(MemorySourceConfig(), {"x": ARRAY, "text": ["t"] * len(ARRAY)})
    first, second = shipped(source), shipped(source)
    assert first.segments[0].size < 100_000
    assert first.segments[1] is second.segments[1]
    assert loaded(second).source[5]["x"] == 5
    assert loaded(second).source[5]["text"] == "t"


def test_a_source_inside_another_is_placed_too() -> None:
    class Doubled:
        def __init__(self) -> None:
            self.inner = MemorySource(MemorySourceConfig(), {"x": ARRAY})

        def __len__(self) -> int:
            return len(self.inner)

        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"x": self.inner[number]["x"] * 2}

    shipment = shipped(Doubled())
    assert len(shipment.segments) == 2
    assert loaded(shipment).source[4]["x"] == 8


def test_a_stage_writing_to_the_shared_data_is_an_error() -> None:
    def write(record: dict[str, Any]) -> dict[str, Any]:
        record["x"][...] = 0
        return record

    for workers in (0, 1):
        with (
            Pipeline(source={"x": np.ones((4, 2))}, batch_size=2, stages=[write], num_workers=workers) as pipeline,
            pytest.raises(ValueError, match="read-only"),
        ):
            list(pipeline)
