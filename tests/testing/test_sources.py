from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import ConcatSource, ImageFolderSource, MemorySource, MemorySourceConfig, SubsetSource
from datarax_mp.testing import check_source

DATA = {"x": np.arange(40.0).reshape(20, 2), "text": [f"t{n}" for n in range(20)]}


class Good:
    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> Any:
        if not 0 <= number < 20:
            raise IndexError(number)
        return {"x": np.arange(number + 1), "text": f"t{number}", "none": None}


@pytest.mark.parametrize(
    "source",
    [
        Good(),
        DATA,
        MemorySource(MemorySourceConfig(shard_id=1, num_workers=2), DATA),
        ConcatSource([DATA, DATA]),
        SubsetSource(DATA, [5, 3, 3]),
        [(np.zeros(2), n) for n in range(5)],
        np.arange(12).reshape(4, 3),
    ],
    ids=lambda source: type(source).__name__,
)
def test_sources_that_keep_their_promises_pass(source: Any) -> None:
    check_source(source)


def test_a_folder_of_images_passes(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for number in range(3):
        (tmp_path / f"c{number}").mkdir()
        image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(tmp_path / f"c{number}" / "a.png")
    check_source(ImageFolderSource(tmp_path))


class Entered(Good):
    """Its records can be read while it is entered, alone, and what it has open then does not pickle."""

    def __init__(self) -> None:
        self.file: Any = None

    def __enter__(self) -> Any:
        assert self.file is None, "it is entered once"
        self.file = open(os.devnull)
        return self

    def __exit__(self, *about: object) -> None:
        self.file.close()

    def __getitem__(self, number: int) -> Any:
        assert not self.file.closed
        return super().__getitem__(number)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("around", [lambda source: source, lambda source: SubsetSource(source, range(20))])
def test_a_source_that_is_a_context_manager_is_entered_and_left(workers: int, around: Callable[[Any], Any]) -> None:
    source = Entered()
    check_source(around(source), num_workers=workers)
    assert source.file.closed


def test_a_source_that_somebody_has_entered_stays_entered() -> None:
    with Entered() as source:
        check_source(source, num_workers=0)
        assert source[3]["text"] == "t3"


def test_a_source_that_is_a_context_manager_is_left_where_it_does_not_pass() -> None:
    class Forgets(Entered):
        def __getitem__(self, number: int) -> Any:
            return {**super().__getitem__(number), "draw": np.random.default_rng().random()}

    source = Forgets()
    with pytest.raises(AssertionError, match="record 0 is another one when it is read again"):
        check_source(source)
    assert source.file.closed


class Wraps(Good):
    def __getitem__(self, number: int) -> Any:
        return {"x": float(number)}


class Random(Good):
    def __getitem__(self, number: int) -> Any:
        return {**super().__getitem__(number), "noise": np.random.default_rng().random()}


class Exposed(Good):
    data = np.arange(20.0)

    def __getitem__(self, number: int) -> Any:
        return {**super().__getitem__(number), "x": self.data[number : number + 1]}


class Grows(Good):
    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}

    def __getitem__(self, number: int) -> Any:
        if number not in self.kept:
            self.kept[number] = {**super().__getitem__(number), "x": np.full(50_000, float(number))}
            self.kept[number]["x"].flags.writeable = False
        return self.kept[number]


class OtherColumns(Good):
    def __getitems__(self, numbers: list[int]) -> Any:
        return {"x": np.array(sorted(numbers))}


class TooFew(Good):
    def __getitems__(self, numbers: list[int]) -> Any:
        return [self[number] for number in sorted(set(numbers))]


class KnowsItsProcess(Good):
    def __init__(self) -> None:
        self.home = os.getpid()

    def __getitem__(self, number: int) -> Any:
        return {**super().__getitem__(number), "x": int(number == 7 and os.getpid() != self.home)}


class Shrinks(Good):
    length = 20

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Any:
        self.length = 19
        return super().__getitem__(number)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Wraps, r"source\[-1\] is another record than source\[19\], the last of 20: field 'x' differs: 19.0 in"),
        (Random, r"record 0 is another one when it is read again: field 'noise'"),
        (Exposed, "what is written to field 'x' of record .* changes the source"),
        (Grows, r"reading \d+ records of .* bytes left .* bytes more in memory"),
        (OtherColumns, "read by __getitems__: the fields differ"),
        (TooFew, "was asked for 21 records and returned 20"),
        (KnowsItsProcess, "record 7 is another one when a worker process reads it"),
        (Shrinks, r"len\(source\) was 20 and is 19"),
    ],
)
def test_what_a_source_does_not_keep_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_source(make())


def test_checking_a_source_leaves_its_data_as_they_were() -> None:
    before = Exposed.data.copy()
    with pytest.raises(AssertionError):
        check_source(Exposed(), num_workers=0)
    assert np.array_equal(Exposed.data, before)


def test_what_is_no_source_is_what_a_pipeline_says() -> None:
    with pytest.raises(TypeError, match="lacks __len__"):
        check_source(iter([1]))
    with pytest.raises(ValueError, match="empty"):
        check_source([])
