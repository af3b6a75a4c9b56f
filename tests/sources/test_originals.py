"""What is written to arrays that a MemorySource was given holds from the next epoch on, with and without workers."""

from __future__ import annotations

import array as arrays
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import MemorySource, MemorySourceConfig, PackedSource, Pipeline


def column(pipeline: Pipeline, name: str = "x") -> list[float]:
    return [float(value) for batch in pipeline for value in batch[name].ravel()]


def views() -> dict[str, np.ndarray]:
    base = np.arange(48.0)
    return {
        "whole": np.arange(12.0),
        "part": base[3:15],
        "strided": base[4:40:3],
        "reversed": base[20:8:-1],
        "fortran": np.asfortranarray(np.arange(24.0).reshape(12, 2)),
        "transposed": np.arange(24.0).reshape(2, 12).T,
        "nan": np.full(12, np.nan),
    }


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", views())
def test_what_is_written_to_an_array_holds_from_the_next_epoch_on(kind: str, workers: int) -> None:
    array = views()[kind]
    source = MemorySource(MemorySourceConfig(), {"x": array, "other": np.arange(12)})
    with Pipeline(source=source, batch_size=5, num_workers=workers, output="numpy") as pipeline:
        for value in (None, 7.0, 7.0, -1.0):
            if value is not None:
                array[3] = value
            assert np.array_equal(column(pipeline), array.ravel().tolist(), equal_nan=True)
            assert column(pipeline, "other") == list(range(12))


def test_a_pipeline_without_workers_sees_it_too_when_another_had_some() -> None:
    array = np.arange(12.0)
    source = MemorySource(MemorySourceConfig(), {"x": array})
    with (
        Pipeline(source=source, batch_size=5, num_workers=1, output="numpy") as one,
        Pipeline(source=source, batch_size=5, output="numpy") as other,
    ):
        assert column(one) == column(other)
        array[0] = 100
        assert column(other)[0] == column(one)[0] == 100


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_inside_another_sees_it_too(workers: int) -> None:
    tokens = np.arange(12).reshape(4, 3)
    packed = PackedSource({"value": tokens}, 6, lengths=[3] * 4, tokenize=lambda record: record["value"])
    with Pipeline(source=packed, batch_size=2, num_workers=workers, output="numpy") as pipeline:
        assert column(pipeline, "tokens") == list(range(12))
        tokens[:] = 5
        assert column(pipeline, "tokens") == [5] * 12


def test_data_that_has_not_changed_stays_where_it_is_and_its_original_may_go() -> None:
    array: Any = np.arange(12.0)
    source = MemorySource(MemorySourceConfig(), {"x": array})
    source.place()
    home = source.columns[0].home  # type: ignore[union-attr]
    source.place()
    assert source.columns[0].home is home  # type: ignore[union-attr]
    del array
    source.place()
    assert source.columns[0].home is home  # type: ignore[union-attr]
    assert float(source[3]["x"]) == 3.0


def lenders() -> dict[str, tuple[Any, Callable[[], Any]]]:
    """Objects of 12 float64 that others than NumPy have, and what a source is given of each."""
    numbers = arrays.array("d", range(12))
    mapped = mmap.mmap(-1, 8 * 12)
    np.frombuffer(mapped)[:] = np.arange(12)
    array = np.arange(12.0)
    return {
        "array.array": (numbers, lambda: numbers),
        "its buffer": (numbers, lambda: np.frombuffer(numbers)),
        "mmap": (mapped, lambda: np.frombuffer(mapped)),
        "buffer of an mmap": (mapped, lambda: np.ndarray((12,), np.float64, memoryview(mapped))),
        "array by a memoryview": (array, lambda: np.asarray(memoryview(array))),
    }


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", lenders())
def test_what_is_written_to_memory_that_something_else_lends_holds_too(kind: str, workers: int) -> None:
    owner, give = lenders()[kind]
    source = MemorySource(MemorySourceConfig(), {"x": give()})
    with Pipeline(source=source, batch_size=5, num_workers=workers, output="numpy") as pipeline:
        for value in (0.0, 99.0, 99.0, -1.0):
            np.frombuffer(owner)[0] = value
            assert column(pipeline) == [value, *range(1, 12)]


def test_memory_that_is_not_what_it_was_any_more_is_let_be() -> None:
    numbers, mapped = arrays.array("d", range(12)), mmap.mmap(-1, 8 * 12)
    source = MemorySource(MemorySourceConfig(), {"x": numbers, "y": np.frombuffer(mapped)})
    source.place()
    del numbers[6:]
    numbers[0] = 99
    mapped.close()
    source.place()
    assert [float(source[number]["x"]) for number in range(12)] == list(range(12))
    assert float(source[0]["y"]) == 0
    numbers.extend(range(20))  # nothing keeps its memory where it is
    source.place()
    assert float(source[0]["x"]) == 99
