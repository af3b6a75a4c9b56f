"""Records that have nothing where others have something to be padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import Pad, Pipeline, RecordError
from tests.ways import WAYS, ways

BOX, NONE = [1, 2, 3, 4], [0, 0, 0, 0]


@ways
@pytest.mark.parametrize("to", ["fixed", "longest"])
@pytest.mark.parametrize("first", [[BOX], [], np.array([BOX], np.int32)])
def test_an_empty_list_stands_for_no_items_of_any_shape(first: Any, to: str, way: str) -> None:
    records = [{"boxes": boxes} for boxes in (first, [], np.array([BOX, BOX], np.int32), [])]
    pad = Pad("boxes", 2, to=to, mask="there", lengths="count")  # type: ignore[arg-type]
    with Pipeline(source=records, batch_size=4, stages=[pad], output="numpy", **WAYS[way]) as pipeline:
        [batch] = pipeline
    count = len(first)
    assert batch["boxes"].tolist() == [[BOX, NONE] if count else [NONE] * 2, [NONE] * 2, [BOX, BOX], [NONE] * 2]
    assert batch["count"].tolist() == [count, 0, 2, 0]
    assert batch["there"].tolist() == [[count > 0, False], [False] * 2, [True] * 2, [False] * 2]


def test_an_empty_list_is_as_long_as_the_empty_fields_that_are_padded_together_with_it() -> None:
    records = [{"boxes": [BOX], "labels": [7]}, {"boxes": [], "labels": []}]
    [batch] = Pipeline(source=records, batch_size=2, stages=[Pad(("boxes", "labels"), 1)], output="numpy")
    assert batch["boxes"].tolist() == [[BOX], [NONE]]
    assert batch["labels"].tolist() == [[7], [0]]


def test_a_list_of_something_of_another_shape_is_an_error_still() -> None:
    records = [{"boxes": [BOX]}, {"boxes": [[]]}]
    with pytest.raises(RecordError, match=r"record 1, field 'boxes': expected shape \(n, 4\).*found \(1, 0\)"):
        list(Pipeline(source=records, batch_size=2, stages=[Pad("boxes", 1)], output="numpy"))
