"""What a stage does to a record that it was given stays with that record, wherever the records lie."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from datarax_mp import Filter, FlatMap, MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.sources.own_copy import own_copy

everywhere = pytest.mark.parametrize(
    "how",
    [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "workers": "threads"}, {"num_workers": "auto"}],
    ids=str,
)


def changing(record: dict[str, Any]) -> dict[str, Any]:
    record["x"] += 1
    record["array"] += 1
    record["deep"]["list"].append(record["x"])
    record["length"] = len(record.pop("deep")["list"])
    return record


def records() -> list[dict[str, Any]]:
    return [{"x": number, "array": np.zeros(2), "deep": {"list": [0]}} for number in range(6)]


@everywhere
def test_a_stage_may_change_records_of_a_list_and_each_epoch_has_them_as_they_were(how: dict[str, Any]) -> None:
    given = records()
    with Pipeline(source=given, batch_size=3, stages=[changing], output="numpy", **how) as pipeline:
        for _ in range(2):
            found = [(batch["x"].tolist(), batch["array"].sum(), batch["length"].tolist()) for batch in pipeline]
            assert found == [([1, 2, 3], 6.0, [2, 2, 2]), ([4, 5, 6], 6.0, [2, 2, 2])]
    assert [(record["x"], record["array"].sum(), record["deep"]) for record in given] == [
        (number, 0, {"list": [0]}) for number in range(6)
    ]


def test_a_filter_that_changes_its_record_changes_no_other_ones() -> None:
    def even(record: dict[str, Any]) -> bool:
        record["x"] += 1
        return record["x"] % 2 == 1

    for _ in range(2):
        with Pipeline(source=(given := records()), batch_size=3, stages=[Filter(even), changing]) as pipeline:
            assert [batch["x"].tolist() for batch in pipeline] == [[1, 3, 5]]
        assert given[0]["x"] == 0


def test_values_of_a_column_that_are_no_arrays_may_be_changed_too() -> None:
    def tagged(record: dict[str, Any]) -> dict[str, Any]:
        record["tags"].append("seen")
        return record

    source = MemorySource(MemorySourceConfig(), {"x": [1, 2], "tags": [["a"], ["a", "b"]]})
    with Pipeline(source=source, batch_size=2, stages=[tagged]) as pipeline:
        for _ in range(2):
            [batch] = list(pipeline)
            assert batch.info["tags"] == [["a", "seen"], ["a", "b", "seen"]]


class Thing:
    def __init__(self) -> None:
        self.values = [1]


def test_a_copy_shares_nothing_that_can_be_changed() -> None:
    shared = np.zeros(2)
    given = {"array": shared, "same": shared, "pair": (1, [2]), "thing": Thing(), "objects": np.array([[3]], object)}
    copied = own_copy(given)
    copied["array"] += 1
    copied["pair"][1].append(3)
    copied["thing"].values.append(2)
    copied["objects"][0] = None
    assert (shared.tolist(), given["pair"], given["thing"].values) == ([0, 0], (1, [2]), [1])
    assert given["objects"].tolist() == [[3]]
    assert own_copy(np.asfortranarray(np.ones((2, 3)))).flags.f_contiguous


def test_what_stands_twice_in_a_record_does_so_in_its_copy() -> None:
    shared, around = np.zeros(2), list[Any]()
    around.append(around)
    given = {"x": shared, "y": [shared], "thing": Thing(), "around": around}
    given["again"] = (given["thing"], shared)
    copied = own_copy(given)
    copied["x"] += 1
    assert copied["y"][0] is copied["x"] is copied["again"][1]
    assert copied["again"][0] is copied["thing"] is not given["thing"]
    assert copied["around"][0] is copied["around"] is not around


@everywhere
def test_a_change_of_what_stands_twice_is_seen_in_both_places_everywhere(how: dict[str, Any]) -> None:
    def raised(record: dict[str, Any]) -> dict[str, Any]:
        record["x"] += 1
        return record

    source = [{"x": array, "y": array} for array in np.zeros((4, 2))]
    with Pipeline(source=source, batch_size=2, stages=[raised], output="numpy", **how) as pipeline:
        for _ in range(2):
            assert [(batch["x"].sum(), batch["y"].sum()) for batch in pipeline] == [(4, 4), (4, 4)]


def test_what_cannot_be_copied_is_given_as_it_is() -> None:
    lock = threading.Lock()
    assert own_copy({"lock": lock})["lock"] is lock


class Kept:
    """A data set of the user's that gives out the records that it keeps."""

    def __init__(self) -> None:
        self.records = [{"x": 8.0} for _ in range(4)]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, float]:
        return self.records[number]


def halved(record: dict[str, float]) -> dict[str, float]:
    record["x"] /= 2
    return record


def kept_above_three(record: dict[str, float]) -> bool:
    record["x"] -= 1
    return record["x"] > 3


@everywhere
@pytest.mark.parametrize("first", [(), (Filter(kept_above_three),), (FlatMap(lambda record: [record], most=1),)])
def test_what_a_stage_assigns_is_not_in_the_record_that_a_source_keeps(how: dict[str, Any], first: Any) -> None:
    with Pipeline(source=Kept(), batch_size=2, stages=[*first, halved], output="numpy", **how) as pipeline:
        for _ in range(3):
            assert [batch["x"].tolist() for batch in pipeline] == [[4, 4], [4, 4]]
