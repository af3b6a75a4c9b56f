"""Sources that read what is no array to the same memory, record after record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from tests.ways import WAYS, ways

Write = Callable[[int], Any]


def into_bytearray() -> Write:
    raw = bytearray(1)

    def write(number: int) -> bytearray:
        raw[0] = number
        return raw

    return write


def into_view() -> Write:
    write = into_bytearray()
    return lambda number: memoryview(write(number))


def into_text() -> Write:
    texts = np.array(["", ""])

    def write(number: int) -> np.ndarray:
        texts[:] = str(number)
        return texts

    return write


def into_list() -> Write:
    words = ["", ""]

    def write(number: int) -> list[str]:
        words[:] = "word", str(number)
        return words

    return write


def into_unequal() -> Write:
    numbers = np.zeros(3, int)

    def write(number: int) -> tuple[np.ndarray, list[np.ndarray]]:
        numbers[:] = number
        return numbers[:1], [numbers[:2]]

    return write


class Reusing:
    def __init__(self, write: Callable[[], Write]) -> None:
        self.make, self.write = write, write()

    def __reduce__(self) -> Any:
        return Reusing, (self.make,)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": number, "info": self.write(number)}


class Together(Reusing):
    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        return {"n": np.array(numbers), "info": [self.write(number) for number in numbers[:1]] * len(numbers)}


@ways
@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (into_bytearray, lambda number: bytearray([number])),
        (into_view, lambda number: bytes([number])),
        (into_text, lambda number: np.array([str(number)] * 2)),
        (into_list, lambda number: ["word", str(number)]),
        (into_unequal, lambda number: (np.full(1, number), [np.full(2, number)])),
    ],
)
def test_each_record_keeps_what_it_was_read_with(write: Any, expected: Any, way: str) -> None:
    for stages in ([], [lambda record: dict(record)]):
        with Pipeline(source=Reusing(write), batch_size=4, stages=stages, output="numpy", **WAYS[way]) as pipeline:
            found = [value for batch in pipeline for value in batch.info["info"]]
        assert repr(found) == repr([expected(number) for number in range(8)])


def test_a_column_gives_each_record_a_copy_of_its_own() -> None:
    with Pipeline(source=Together(into_bytearray), batch_size=4, output="numpy") as pipeline:
        first, _ = pipeline
    first.info["info"][0][0] = 77
    assert first.info["info"] == [bytearray([77])] + [bytearray([0])] * 3


def test_views_of_bytes_in_a_list_become_bytes_too() -> None:
    class Source:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"n": number, "parts": [memoryview(b"abc")[number:], "text", None]}

    with Pipeline(source=Source(), batch_size=2, output="numpy") as pipeline:
        [batch] = pipeline
    assert batch.info["parts"] == [[b"abc", "text", None], [b"bc", "text", None]]
