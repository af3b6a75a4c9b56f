"""Sources that read one record at a time stay so within others: a batch's records come one after the other."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import (
    Cache,
    ConcatSource,
    Filter,
    MapBatch,
    MixSource,
    Pipeline,
    RecordError,
    SubsetSource,
    WindowSource,
    split,
)
from datarax_mp.recipe.recorder import Phase, here, sighting
from datarax_mp.sources.blocks import BlockSource
from datarax_mp.sources.records import InTurn

LENGTH = 12

wrappers: dict[str, Callable[[Any], Any]] = {
    "subset": lambda source: SubsetSource(source, range(LENGTH)),
    "split": lambda source: split(source, [1.0], seed=None)[0],
    "concat": lambda source: ConcatSource([SubsetSource(source, range(5)), SubsetSource(source, range(5, LENGTH))]),
    "mix": lambda source: MixSource([source], [1], tag=None),
    "nested": lambda source: SubsetSource(ConcatSource([source]), range(LENGTH)),
}
wrapped = pytest.mark.parametrize("wrap", wrappers.values(), ids=wrappers)
both = pytest.mark.parametrize("workers", [0, 2])


class Reused:
    """Gives the same memory for every record."""

    def __init__(self) -> None:
        self.buffer = np.zeros(2)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        self.buffer[:] = number
        return {"x": self.buffer}


class Quick:
    """Gives columns."""

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": np.full(2, 100.0 + number)}

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        return {"x": np.repeat(100.0 + np.array(numbers)[:, None], 2, axis=1)}


def stream(source: Any, **options: Any) -> list[Any]:
    with Pipeline(source=source, batch_size=5, output="numpy", **options) as pipeline:
        return [row for batch in pipeline for row in batch["x"].tolist()]


EXPECTED = [[float(number)] * 2 for number in range(LENGTH)]


@both
@wrapped
def test_records_in_memory_that_is_used_again_are_those_that_were_read(wrap: Any, workers: int) -> None:
    assert stream(wrap(Reused()), num_workers=workers) == EXPECTED


@wrapped
@pytest.mark.parametrize(
    "stages",
    [[lambda record: record], [Filter(lambda record: True)], [MapBatch(lambda batch: batch)], [Cache(budget=1 << 20)]],
    ids=["map", "filter", "batch", "cache"],
)
def test_stages_see_them_so_too(wrap: Any, stages: list[Any]) -> None:
    assert stream(wrap(Reused()), stages=stages) == EXPECTED


def test_a_filter_decides_by_the_record_that_was_asked_for() -> None:
    even = [Filter(lambda record: record["x"][0] % 2 == 0)]
    assert stream(SubsetSource(Reused(), range(LENGTH)), stages=even) == EXPECTED[::2]


@both
def test_beside_a_source_that_gives_columns_they_still_come_in_turn(workers: int) -> None:
    source = SubsetSource(ConcatSource([Quick(), Reused()]), [0, 12, 1, 13, 2, 14])
    assert [row[0] for row in stream(source, num_workers=workers)] == [100, 0, 101, 1, 102, 2]


@both
def test_items_of_a_list_that_is_used_again_get_their_names_in_turn(workers: int) -> None:
    class Listed(Reused):
        def __getitem__(self, number: int) -> Any:
            items[:] = [number, -number]
            return items

    items = [0, 0]
    source = SubsetSource(Listed(), range(LENGTH))
    assert stream(source, fields=("x", "y"), num_workers=workers) == list(range(LENGTH))


@both
def test_windows_hold_the_records_that_were_read(workers: int) -> None:
    found = stream(WindowSource(Reused(), 3), num_workers=workers)
    assert [[row[0] for row in window] for window in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


class Counted(Reused):
    """Fails at a record for the first few times, and knows what it was asked for."""

    def __init__(self, bad: int, times: int) -> None:
        super().__init__()
        self.bad, self.times = bad, times
        self.asked: list[int] = []

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        self.asked.append(number)
        if number == self.bad and self.times:
            self.times -= 1
            raise OSError("it has gone")
        return super().__getitem__(number)


@both
@wrapped
def test_what_a_record_raises_names_that_record_alone(wrap: Any, workers: int) -> None:
    source = wrap(Counted(8, 1000))
    with (
        Pipeline(source=source, batch_size=5, num_workers=workers) as pipeline,
        pytest.raises(OSError, match="it has gone") as raised,
    ):
        list(pipeline)
    assert f"while reading record 8 of {type(source).__name__}" in raised.value.__notes__


def test_a_window_that_cannot_be_read_is_named_by_its_own_number() -> None:
    with (
        Pipeline(source=WindowSource(Counted(8, 1000), 3), batch_size=2) as pipeline,
        pytest.raises(OSError, match="it has gone") as raised,
    ):
        list(pipeline)
    assert "while reading record 2 of WindowSource" in raised.value.__notes__


@wrapped
def test_only_the_record_that_failed_is_read_again(wrap: Any) -> None:
    source = Counted(8, 1)
    assert stream(wrap(source), retries=1) == EXPECTED
    assert [number for number in source.asked if number] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11]


@wrapped
def test_a_record_that_fails_is_skipped_alone(wrap: Any) -> None:
    assert stream(wrap(Counted(8, 1000)), on_error="skip") == EXPECTED[:8] + EXPECTED[9:]


@wrapped
def test_others_see_which_record_is_being_read(wrap: Any) -> None:
    class Looking(Reused):
        def __getitem__(self, number: int) -> Any:
            seen.append((sighting(here.line).phase, sighting(here.line).record == number))
            return super().__getitem__(number)

    seen: list[tuple[Phase, bool]] = []
    stream(wrap(Looking()))
    assert seen[-LENGTH:] == [(Phase.READING, True)] * LENGTH


class Large:
    """Knows how many of its records are alive."""

    def __init__(self) -> None:
        self.given: list[weakref.ref[np.ndarray]] = []
        self.most = 0

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return {"x": self.made()}

    def made(self) -> np.ndarray:
        self.most = max(self.most, sum(one() is not None for one in self.given))
        array = np.zeros(3)
        self.given.append(weakref.ref(array))
        return array


class Decoding(Large, BlockSource):
    """Makes them when they are taken out of a block."""

    blocks = (LENGTH,)
    __len__ = BlockSource.__len__
    __getitem__ = BlockSource.__getitem__

    def read_block(self, number: int) -> list[int]:
        return list(range(LENGTH))

    def decode(self, record: Any) -> Any:
        return {"x": self.made()}


@wrapped
@pytest.mark.parametrize("kind", [Large, Decoding])
def test_no_more_records_are_there_than_one_beside_that_which_is_written(wrap: Any, kind: type[Large]) -> None:
    source = kind()
    stream(wrap(source))
    assert source.most <= 1


@both
def test_what_records_of_the_users_own_raise_in_their_turn_names_the_record(workers: int) -> None:
    class Late(Reused):
        def __getitems__(self, numbers: list[int]) -> Any:
            return InTurn(lambda place: {"x": np.float32(1 / (numbers[place] - 7))}, len(numbers))

    with (
        Pipeline(source=Late(), batch_size=5, num_workers=workers) as pipeline,
        pytest.raises(ZeroDivisionError) as raised,
    ):
        list(pipeline)
    assert "while reading record 7 of Late" in raised.value.__notes__


def test_records_of_windows_that_differ_are_still_an_error_of_the_window() -> None:
    with pytest.raises(RecordError, match="records 2 to 3 cannot be put together in a window"):
        list(WindowSource([{"x": 1}, {"x": 2}, {"x": 3}, {"y": 4}], 2).__getitems__([1]))
