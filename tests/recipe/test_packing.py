"""Info that cannot be pickled."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from datarax_mp import MapBatch, Pad, Pipeline, RecordError
from datarax_mp.recipe.filling import Filled
from datarax_mp.recipe.packing import Packer
from tests.ways import WAYS, ways

WORDS = r"field 'deep/held': expected an array, or a value that pickles.*found a lock .*cannot pickle.*in a stage"


class Holding:
    """Some records hold a lock where others hold text."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 12

    def __getitem__(self, number: int) -> dict[str, Any]:
        held = threading.Lock() if number in self.bad else f"text {number}"
        return {"n": number, "x": np.full(number % 3, number), "deep": {"held": held}}


def options(way: str, **more: Any) -> dict[str, Any]:
    return {"batch_size": 4, "stages": [Pad("x", 3, to="longest")], "output": "numpy", **WAYS[way], **more}


@ways
def test_it_names_field_and_record_and_waits_its_turn(way: str) -> None:
    found: list[int] = []
    with (
        Pipeline(source=Holding({6, 9}), **options(way)) as pipeline,
        pytest.raises(RecordError, match=f"record 6, {WORDS}") as raised,
    ):
        for batch in pipeline:
            found += batch["n"].tolist()
    assert found == [0, 1, 2, 3]
    assert "(step 1 of epoch 0)" in raised.value.__notes__


@ways
def test_its_record_can_be_skipped(way: str) -> None:
    bad = {0, 5, 6, 11}
    with Pipeline(source=Holding(bad), on_error="skip", **options(way)) as pipeline:
        found = list(pipeline)
        assert [skip.record for skip in pipeline.skips] == sorted(bad)
    left = [number for number in range(12) if number not in bad]
    assert [number for batch in found for number in batch["n"].tolist()] == left
    assert [text for batch in found for text in batch.info["deep"]["held"]] == [f"text {number}" for number in left]
    assert [item.index for batch in found for item in batch.metadata] == left
    for batch in found:
        for number, row in zip(batch["n"].tolist(), batch["x"].tolist(), strict=True):
            assert [value for value in row if value] == [number] * (number % 3)


@ways
def test_where_no_record_pickles_that_is_no_accident(way: str) -> None:
    with (
        Pipeline(source=Holding(set(range(12))), on_error="skip", **options(way)) as pipeline,
        pytest.raises(RecordError, match=WORDS) as raised,
    ):
        list(pipeline)
    assert any("each of the first 12 records fails" in note for note in raised.value.__notes__)


def test_what_a_stage_takes_out_need_not_pickle() -> None:
    def held(batch: dict[str, Any]) -> dict[str, Any]:
        return {"n": batch["n"], "locked": np.array([hasattr(one, "locked") for one in batch["deep"]["held"]])}

    stages = [Pad("x", 3), MapBatch(held)]
    with Pipeline(source=Holding({0, 5}), batch_size=12, stages=stages, output="numpy") as pipeline:
        [batch] = pipeline
    assert np.flatnonzero(batch["locked"]).tolist() == [0, 5]


def test_rows_that_are_skipped_for_it_come_beside_those_that_were_skipped_before() -> None:
    packer = Packer(np.ndarray.tolist, skip=True)
    arrays = {("n",): np.array([10, 12, 13, 0])}  # of four records, the second of which is skipped already
    held = [threading.Lock(), "twelve", threading.Lock()]
    filled = Filled(arrays, {("held",): held}, {1: ("before",)})  # type: ignore[dict-item]
    left, info = packer.pack(filled, np.array([10, 11, 12, 13]))
    assert info is not None
    assert left.infos == {("held",): ["twelve"]}
    assert left.arrays["n",][0] == 12
    assert sorted(left.skips) == [0, 1, 3]
    assert [left.skips[place].record for place in (0, 3)] == [10, 13]
