from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import MemorySource, MemorySourceConfig, MixSource, Pipeline, SubsetSource, split


@pytest.mark.parametrize(
    "numbers", [[7, 0, 7, 3], np.array([7, 0, 7, 3], np.uint8), range(9, 1, -3)], ids=["list", "array", "range"]
)
def test_records_are_those_of_the_numbers(numbers: Any) -> None:
    for data in ({"x": np.arange(10)}, [{"x": n} for n in range(10)]):
        source = SubsetSource(data, numbers)
        assert [int(source[n]["x"]) for n in range(len(source))] == list(numbers)
        assert source[-1]["x"] == numbers[-1]
        found = source.__getitems__([2, 0])
        xs = found["x"] if isinstance(found, dict) else [record["x"] for record in found]
        assert [int(x) for x in xs] == [numbers[2], numbers[0]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_of_numbers_is_not_read_to_make_a_pipeline(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "numbers"
    length = 10**9
    with path.open("wb") as file:
        file.truncate(8 * length)  # a file of zeros that takes no room
    numbers = np.memmap(path, np.int64, "r+")
    numbers[-4:] = [5, 6, 7, 8]
    source = SubsetSource({"x": np.arange(10)}, np.memmap(path, np.int64, "r"))
    with Pipeline(source=source, batch_size=8, output="numpy", num_workers=workers) as pipeline:
        assert len(pipeline) == length // 8
        state = pipeline.get_state()
        pipeline.set_state({**state, "step": len(pipeline) - 1})
        [batch] = pipeline
    assert batch["x"].tolist() == [0, 0, 0, 0, 5, 6, 7, 8]


def test_it_shuffles_where_the_source_does() -> None:
    source = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(50)}, rngs=np.random.default_rng(0))
    with Pipeline(source=SubsetSource(source, range(10, 40)), batch_size=30, output="numpy") as pipeline:
        [batch] = pipeline
    assert sorted(batch["x"].tolist()) == list(range(10, 40)) != batch["x"].tolist()


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ([True, False], TypeError, "must be integers, found dtype bool.*flatnonzero"),
        ([0.5], TypeError, "must be integers"),
        ([[1]], ValueError, "one axis"),
        ([], ValueError, "empty"),
    ],
)
def test_what_are_no_numbers_is_an_error(numbers: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SubsetSource([1, 2, 3], numbers)


def test_numbers_that_are_none_of_the_source_s_are_an_error_when_they_are_read() -> None:
    source = SubsetSource([1, 2, 3], [0, 3, -1])
    for place, number in ((1, 3), (2, -1)):
        with pytest.raises(IndexError, match=f"record {number} is outside of the 3 records"):
            source[place]
    with pytest.raises(IndexError, match="record 3 is outside"):
        source[3]


def test_a_mixture_would_lose_its_weights() -> None:
    with pytest.raises(ValueError, match="is a MixSource.*would lose that"):
        SubsetSource(MixSource([[1]], [1]), [0])


@given(st.integers(10, 500), st.integers(1, 5), st.none() | st.integers(0, 2**64 - 1), st.data())
def test_every_record_is_in_exactly_one_part(length: int, parts: int, seed: int | None, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 5), min_size=parts, max_size=parts))
    fractions = [weight / sum(weights) for weight in weights]
    if min(fractions) * length < 1:
        return
    divided = split({"x": np.arange(length)}, fractions, seed=seed)
    numbers = [[int(part[n]["x"]) for n in range(len(part))] for part in divided]
    assert sorted(n for part in numbers for n in part) == list(range(length))
    assert all(abs(len(part) - fraction * length) < 1 for part, fraction in zip(divided, fractions, strict=True))
    if seed is None:
        assert [n for part in numbers for n in part] == list(range(length))


def test_parts_are_random_and_the_same_for_the_same_seed() -> None:
    def train(seed: int) -> list[int]:
        part, _ = split({"x": np.arange(1000)}, [0.9, 0.1], seed=seed)
        return [int(part[n]["x"]) for n in range(len(part))]

    assert train(0) == train(0) != train(1)
    assert np.abs(np.histogram(train(0), 10, (0, 1000))[0] - 90).max() < 15


def test_a_billion_records_are_divided_at_once() -> None:
    class Endless:
        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, number: int) -> dict[str, int]:
            return {"x": number}

    train, test = split(Endless(), [0.999, 0.001])
    assert (len(train), len(test)) == (999_000_000, 1_000_000)
    assert 0 <= test[12_345]["x"] < 10**9


@pytest.mark.parametrize("fractions", [[], [0.5], [1.5, -0.5], [0.7, 0.7]])
def test_fractions_that_do_not_add_up_are_an_error(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split([1, 2, 3], fractions)


def test_a_part_without_records_is_an_error() -> None:
    with pytest.raises(ValueError, match="of 3 records leave part 1 without any"):
        split([1, 2, 3], [0.99, 0.01])
