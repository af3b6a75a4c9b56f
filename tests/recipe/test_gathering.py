"""Sources of the user's that write their records where they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline, RecordError
from datarax_mp.testing import assert_same_stream, check_resume, check_source
from tests.ways import WAYS, ways


class Plain:
    """Two fields, one of them nested."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, number: int) -> dict[str, Any]:
        if not 0 <= number < 50:
            raise IndexError(number)
        return {"n": number, "deep": {"x": np.full((2, 3), number, np.float32)}}


class Writing(Plain):
    """The same, written."""

    def __init__(self, folder: Path | None = None, bad: int | None = None, times: int = 1 << 30) -> None:
        self.folder, self.bad, self.times = folder, bad, times

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number == self.bad and self.times > 1000:
            raise OSError("torn")
        return super().__getitem__(number)

    def read_into(self, numbers: np.ndarray, out: Any) -> None:
        if self.folder is not None:
            with open(self.folder / "calls", "a") as file:
                file.write("x")
        if self.bad in numbers.tolist() and (
            self.folder is None or len((self.folder / "calls").read_text()) <= self.times
        ):
            raise OSError("torn")
        out["n"][...] = numbers
        out["deep"]["x"][...] = numbers[:, None, None]


@ways
def test_the_stream_is_that_of_the_records_one_by_one(way: str, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"batch_size": 8, "shuffle": True, "seed": 1}
    with Pipeline(source=Plain(), **usual) as expected:
        with Pipeline(source=Writing(tmp_path), **usual, **WAYS[way]) as found:
            assert_same_stream(expected, found, epochs=2)
            check_resume(found, steps=3)
        assert (tmp_path / "calls").exists()
        usual["pad_last"] = True
        with Pipeline(source=Plain(), **usual) as padded, Pipeline(source=Writing(), **usual, **WAYS[way]) as found:
            assert_same_stream(padded, found)


@ways
def test_what_it_raises_names_the_records_and_can_be_skipped_or_tried_again(way: str, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"batch_size": 8, "output": "numpy", **WAYS[way]}
    with Pipeline(source=Writing(bad=13), **usual) as pipeline, pytest.raises(OSError, match="torn") as raised:
        list(pipeline)
    assert any("while reading records [8, 9, 10, 11, 12, 13, 14, 15] of" in note for note in raised.value.__notes__)
    with Pipeline(source=Writing(bad=13), on_error="skip", **usual) as pipeline:
        assert [n for batch in pipeline for n in batch["n"].tolist()] == [n for n in range(50) if n != 13]
        assert pipeline.skipped == 1
    with Pipeline(
        source=Writing(tmp_path, 13, times=3), batch_size=50, retries=3, output="numpy", **WAYS[way]
    ) as pipeline:
        assert next(iter(pipeline))["n"].tolist() == list(range(50))


@ways
def test_with_a_stage_for_records_they_are_read_one_by_one(way: str, tmp_path: Path) -> None:
    source = Writing(tmp_path)
    with Pipeline(source=source, batch_size=8, stages=[lambda record: record], output="numpy", **WAYS[way]) as pipeline:
        assert sum(batch.batch_size for batch in pipeline) == 50
    assert not (tmp_path / "calls").exists()


class Half(Writing):
    def read_into(self, numbers: np.ndarray, out: Any) -> None:
        out["n"][...] = numbers


def test_who_writes_less_is_found_out_by_a_check() -> None:
    check_source(Writing())
    with pytest.raises(AssertionError, match="is another one, or not whole, when read_into writes it"):
        check_source(Half())


class Replacing(Plain):
    """Puts arrays of its own in the place of those that it is to write to, or adds some."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read_into(self, numbers: np.ndarray, out: Any) -> None:
        out["n"][...] = numbers
        out["deep"]["x"][...] = numbers[:, None, None]
        if self.name == "n":
            out["n"] = numbers.copy()
        elif self.name == "deep/x":
            out["deep"] = {"x": out["deep"]["x"].copy()}
        else:
            out[self.name] = numbers


@ways
@pytest.mark.parametrize("name", ["n", "deep/x"])
def test_who_replaces_an_array_instead_of_writing_to_it_is_told_so(name: str, way: str) -> None:
    for options in ({}, {"on_error": "skip"}):
        with (
            Pipeline(source=Replacing(name), batch_size=8, output="numpy", **options, **WAYS[way]) as pipeline,
            pytest.raises(RecordError, match=f"field '{name}': expected read_into to write to the array .* not out"),
        ):
            list(pipeline)


def test_who_adds_a_field_is_told_so() -> None:
    with (
        Pipeline(source=Replacing("new"), batch_size=8, output="numpy") as pipeline,
        pytest.raises(RecordError, match="has added the field 'new', which the first record lacks"),
    ):
        list(pipeline)


class InPlace(Plain):
    """Writes in ways that bind the same arrays anew."""

    def read_into(self, numbers: np.ndarray, out: Any) -> None:
        out["n"] = np.add(numbers, 0, out=out["n"])
        out["deep"]["x"][...] = 0
        out["deep"]["x"] += numbers[:, None, None]


def test_who_binds_the_same_array_anew_has_written_to_it() -> None:
    with Pipeline(source=Plain(), batch_size=8) as expected, Pipeline(source=InPlace(), batch_size=8) as found:
        assert_same_stream(expected, found)
