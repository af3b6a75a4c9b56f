from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp.sources import MemorySource, as_source


class Torchlike:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"x": number}


def test_anything_with_a_length_and_numbers_is_taken_as_it_is() -> None:
    dataset = Torchlike()
    assert as_source(dataset) is dataset


@pytest.mark.parametrize("data", [[1, 2], {"a": [1, 2]}, np.zeros(2), ({"a": 1}, {"a": 2})])
def test_plain_data_becomes_a_memory_source(data: Any) -> None:
    assert isinstance(as_source(data), MemorySource)
    assert len(as_source(data)) == 2


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("abc", TypeError, "str"),
        (iter([1]), TypeError, "lacks __len__ and __getitem__"),
        ({1, 2}, TypeError, "lacks __getitem__"),
        (None, TypeError, "NoneType"),
        ([], ValueError, "empty"),
        ({"a": []}, ValueError, "empty"),
    ],
)
def test_what_is_no_source_is_an_error(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_source(wrong)
