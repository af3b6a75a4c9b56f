"""What sources answer that are asked for several records, wherever they stand: columns of other libraries, masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datarax_mp import ConcatSource, MixSource, Pipeline, RecordError, SubsetSource, WindowSource
from datarax_mp.sources.blocks import BlockSource
from datarax_mp.testing import check_source

LENGTH = 8
both = pytest.mark.parametrize("workers", [0, 2])

wrappers: dict[str, Callable[[Any], Any]] = {
    "alone": lambda source: source,
    "subset": lambda source: SubsetSource(source, range(len(source))),
    "concat": lambda source: ConcatSource([source]),
    "concat with lists": lambda source: ConcatSource([source, [{"x": value} for value in source.values]]),
    "mix": lambda source: MixSource([source], [1]),
    "window": lambda source: WindowSource(source, 1),
}
wrapped = pytest.mark.parametrize("wrap", wrappers.values(), ids=wrappers)


class Columnar:
    """Gives what a function makes of an array of values."""

    def __init__(self, make: Callable[[np.ndarray], Any], values: Any = None) -> None:
        self.make = make
        self.values = np.arange(LENGTH, dtype=np.int32) if values is None else values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": self.values[number]}

    def __getitems__(self, numbers: list[int]) -> Any:
        return self.make(self.values[numbers])


kinds: dict[str, Callable[[np.ndarray], Any]] = {
    "pandas": lambda values: pd.DataFrame({"x": values}),
    "pandas whose labels are other places": lambda values: pd.DataFrame({"x": values}, index=range(len(values))[::-1]),
    "pandas whose labels are no places": lambda values: pd.DataFrame({"x": values}, index=100 + values),
    "arrow": lambda values: pa.table({"x": values}),
    "arrow in chunks": lambda values: {"x": pa.chunked_array([values[:1], values[1:]])},
}


def first_batches(source: Any, **options: Any) -> np.ndarray:
    with Pipeline(source=source, batch_size=4, output="numpy", shuffle=False, **options) as pipeline:
        return np.concatenate([batch["x"] for batch in pipeline])[:LENGTH]


@both
@wrapped
@pytest.mark.parametrize("make", kinds.values(), ids=kinds)
def test_columns_of_other_libraries_are_asked_by_place_and_keep_their_dtype(make: Any, wrap: Any, workers: int) -> None:
    found = first_batches(wrap(Columnar(make)), num_workers=workers)
    assert found.dtype == np.int32
    assert found.ravel().tolist() == list(range(LENGTH))


@wrapped
@pytest.mark.parametrize("answer", [lambda values: {"x": values[1:]}, lambda values: [{"x": value} for value in [1]]])
def test_one_that_answers_with_too_few_is_told_so(answer: Any, wrap: Any) -> None:
    if wrap is wrappers["window"]:
        wrap = lambda source: WindowSource(source, 2)  # noqa: E731
    with pytest.raises(RecordError, match=r"Columnar.__getitems__ was asked for . records .* and returned \d"):
        first_batches(wrap(Columnar(answer, np.arange(2))))


class Protocol:
    """Has an array, as containers of other libraries do."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


class Blocks(BlockSource):
    """Reads columns, as netCDF4 does: masked ones, whether anything is masked or not."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.values = np.arange(4)

    @property
    def blocks(self) -> tuple[int, ...]:
        return (2, 2)

    def read_block(self, number: int) -> dict[str, Any]:
        return {"x": self.array[2 * number : 2 * number + 2]}


def columnar(array: Any) -> Columnar:
    return Columnar(lambda values: {"x": array[values]}, np.arange(4))


def of_protocol(array: Any) -> Columnar:
    return Columnar(lambda values: {"x": Protocol(array[values])}, np.arange(4))


class Single:
    """Gives one record at a time."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, number: int) -> Any:
        return {"x": self.array[number : number + 1]}


class SingleByProtocol(Single):
    """The same in another container."""

    def __getitem__(self, number: int) -> Any:
        return {"x": Protocol(self.array[number : number + 1])}


ways: dict[str, Callable[[Any], Any]] = {
    "blocks": Blocks,
    "blocks within another": lambda array: SubsetSource(Blocks(array), range(4)),
    "columns": columnar,
    "columns in a subset": lambda array: SubsetSource(columnar(array), range(4)),
    "columns among others": lambda array: ConcatSource([columnar(array), {"x": np.zeros(4)}]),
    "columns beside lists": lambda array: ConcatSource([columnar(array), [{"x": 0.0}]]),
    "columns in a mixture": lambda array: MixSource([columnar(array)], [1]),
    "columns in windows": lambda array: WindowSource(columnar(array), 2),
    "columns with an array": of_protocol,
    "columns with an array in windows": lambda array: WindowSource(of_protocol(array), 2),
    "an array with an array": lambda array: {"x": Protocol(array)},
    "an array in windows": lambda array: WindowSource(array, 2, field="x"),
    "records": Single,
    "records with an array": SingleByProtocol,
    "records in windows": lambda array: WindowSource(Single(array), 2),
    "records with an array in windows": lambda array: WindowSource(SingleByProtocol(array), 2),
}


@pytest.mark.parametrize("way", ways.values(), ids=ways)
def test_masked_values_are_an_error_on_every_way(way: Any) -> None:
    masked = np.ma.array([1.0, 2, 3, 4], mask=[False, True, False, False])
    with pytest.raises(RecordError, match="found a masked array with 1 masked values"):
        first_batches(way(masked))


@pytest.mark.parametrize("way", ways.values(), ids=ways)
def test_a_masked_array_in_which_nothing_is_masked_is_an_array(way: Any) -> None:
    found = first_batches(way(np.ma.array([1.0, 2, 3, 4], mask=[False] * 4)))
    assert type(found) is np.ndarray
    assert found.ravel()[:4].tolist() == [1, 2, 3, 4]


class Box(NamedTuple):
    """A field of two parts."""

    left: Any
    right: Any


class Boxes:
    """Gives records one by one, or as columns, with a named tuple within."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> dict[str, Any]:
        if not 0 <= number < 6:
            raise IndexError(number)
        return {"n": number, "box": Box(np.float32(number), np.float32(-number))}

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        found = np.array(numbers)
        return {"n": found, "box": Box(found.astype(np.float32), -found.astype(np.float32))}


@pytest.mark.parametrize("batch_size", [2, 3])
def test_a_named_tuple_of_columns_is_taken_apart_as_one_of_values_is(batch_size: int) -> None:
    check_source(Boxes(), num_workers=0)
    with Pipeline(source=Boxes(), batch_size=batch_size, output="numpy") as pipeline:
        found = [(batch["box"]["left"].tolist(), batch["box"]["right"].tolist()) for batch in pipeline]
    assert found == [
        (list(range(n, n + batch_size)), [-m for m in range(n, n + batch_size)]) for n in range(0, 6, batch_size)
    ]
