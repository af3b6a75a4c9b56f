"""Which file some memory belongs to."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from datarax_mp.ring.mapped import Mappings, Mode, Place, is_mapped

VALUES = np.arange(5000)

pytestmark = pytest.mark.needs("proc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    VALUES.tofile(tmp_path / "values")
    return tmp_path / "values"


def found(array: np.ndarray) -> Place | None:
    assert is_mapped(array)
    low, high = np.lib.array_utils.byte_bounds(array)
    return Mappings().place(low, high - low)


def values(place: Place, count: int) -> list[int]:
    return np.frombuffer(place.file.open(), np.int64, count, place.offset).tolist()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memmap_is_found_with_its_mode_and_place(path: Path, mode: Mode) -> None:
    place = found(np.memmap(path, np.int64, mode, offset=8)[4:10])
    assert place is not None
    assert (place.file.path, place.file.mode, place.offset) == (str(path), mode, 40)
    assert values(place, 6) == [5, 6, 7, 8, 9, 10]


def test_so_is_what_does_not_say_that_it_is_one(path: Path) -> None:
    with path.open() as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for array in (np.asarray(np.memmap(path, np.int64, "r"))[3:], np.frombuffer(mapped, np.int64, offset=24)):
        place = found(array)
        assert place is not None and values(place, 2) == [3, 4]


def test_a_private_mapping_that_was_written_to_is_no_longer_the_file(path: Path) -> None:
    array = np.memmap(path, np.int64, "c")
    assert found(array) is not None
    array[0] = 7
    assert found(array) is None


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_was_replaced_or_deleted_is_reached_by_its_descriptor(path: Path, replaced: bool) -> None:
    array = np.memmap(path, np.int64, "r")
    path.unlink()
    if replaced:
        np.zeros(5000, np.int64).tofile(path)
    place = found(array)
    assert place is not None and place.file.segment is not None
    assert values(place, 5) == [0, 1, 2, 3, 4]


def test_replacing_or_shortening_a_file_after_it_was_found_is_an_error_that_says_so(path: Path) -> None:
    place = found(array := np.memmap(path, np.int64, "r"))
    assert place is not None and len(array)
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(OSError, match=r"shortened: expected at least 40000 bytes, found 100"):
        place.file.open()
    other = path.with_name("other")
    VALUES.tofile(other)
    other.replace(path)
    with pytest.raises(OSError, match="replaced by another one of the same name"):
        place.file.open()


def test_ordinary_memory_and_shared_memory_without_a_file_are_none() -> None:
    assert not is_mapped(VALUES[5:])
    assert found(np.frombuffer(mmap.mmap(-1, 4096), np.int64)) is None
