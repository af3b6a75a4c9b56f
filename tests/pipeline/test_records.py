"""Records as people have them: what they are called, which of their fields are arrays, and what is an error."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from flax import struct

from datarax_mp import Filter, MapElement, MemorySource, MemorySourceConfig, Pad, Pipeline, RecordError
from datarax_mp.core.record import path_of, split_record


def epoch(source: Any, workers: int = 0, **options: Any) -> list[Any]:
    options = {"batch_size": 2, "output": "numpy", **options}
    with Pipeline(source=source, num_workers=workers, **options) as pipeline:
        return list(pipeline)


def column(batches: list[Any], name: str) -> list[Any]:
    return [value for batch in batches for value in (batch.info[name] if name in batch.info else batch[name].tolist())]


class Point(NamedTuple):
    x: float
    name: str


@dataclasses.dataclass(frozen=True)
class Plain:
    x: float
    name: str


@struct.dataclass
class Flax:
    x: float
    name: str


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Point, Plain, Flax, namedtuple("Untyped", ["x", "name"])])
def test_objects_with_named_fields_are_records(kind: Any, workers: int) -> None:
    found = epoch([kind(1.5, "one"), kind(2.5, "two"), kind(3.5, "three")], workers)
    assert column(found, "x") == [1.5, 2.5, 3.5]
    assert column(found, "name") == ["one", "two", "three"]


def test_objects_of_attrs_and_rows_of_a_frame_are_records() -> None:
    attrs = pytest.importorskip("attrs")
    kind = attrs.make_class("Made", ["x", "name"])
    assert column(epoch([kind(1, "one"), kind(2, "two")]), "name") == ["one", "two"]
    frame = pd.DataFrame({"x": [1, 2], "name": ["one", "two"]})
    found = epoch([frame.iloc[0], frame.iloc[1]])
    assert (column(found, "x"), column(found, "name")) == ([1, 2], ["one", "two"])
    assert split_record(pd.Series([1.0, 2.0]), 0)[0]["value",].tolist() == [1, 2]


class Pairs:
    """As many data sets for torch: tuples."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> Any:
        return np.full(2, number, np.float32), f"text {number}"


class PairsTogether(Pairs):
    def __getitems__(self, numbers: list[int]) -> list[Any]:
        return [self[number] for number in numbers]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", [Pairs(), PairsTogether()])
def test_fields_name_the_items_of_tuples(source: Any, workers: int) -> None:
    def double(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "image": record["image"] * 2}

    stages = [double, Filter(lambda record: record["text"] != "text 1")]
    found = epoch(source, workers, fields=("image", "text"), stages=stages)
    assert [row for batch in found for row in batch["image"][:, 0].tolist()] == [0, 4, 6, 8]
    assert column(found, "text") == ["text 0", "text 2", "text 3", "text 4"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_tuple_without_fields_says_how_to_name_its_items(workers: int) -> None:
    with pytest.raises(
        RecordError, match=r"record 0: .*found tuple.*Pipeline\(\.\.\., fields=\('field 0', 'field 1', "
    ):
        epoch(Pairs(), workers)


@pytest.mark.parametrize(
    ("source", "fields", "message"),
    [
        (Pairs(), ("image",), r"record 0: expected a tuple of 1 items.*found a tuple of 2 items"),
        (PairsTogether(), ("a", "b", "c"), r"record 0: expected a tuple of 3 items.*found a tuple of 2 items"),
        ([{"x": 1}], ("x",), r"record 0: expected a tuple of 1 items.*found a dict"),
    ],
)
def test_fields_that_do_not_fit_the_records_are_an_error(source: Any, fields: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        epoch(source, fields=fields)


@pytest.mark.parametrize("fields", ["image", (), (1,), ("a", "a")])
def test_fields_that_are_no_names_are_an_error(fields: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="fields must"):
        Pipeline(source=Pairs(), batch_size=2, fields=fields)


# --- array or not, the first record says


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "values",
    [
        [["a"], [], ["b", "c"]],
        [None, 3, None],
        ["a", 2, 2.5],
        [(np.zeros(1), np.zeros(2)), (np.zeros(1), np.zeros(1)), (np.ones(2), np.ones(2))],
        [b"raw", bytearray(b"raw"), b""],
        [[[1], [2, 3]], [[1], [2]], []],
        [{1}, [1, 2], 3],
    ],
    ids=str,
)
def test_a_field_that_is_no_array_in_the_first_record_is_none_in_any(values: list[Any], workers: int) -> None:
    records = [{"n": number, "v": value} for number, value in enumerate(values)]
    found = column(epoch(records, workers), "v")
    assert repr(found) == repr(values)
    assert repr(column(epoch(records, workers, stages=[lambda record: dict(record)]), "v")) == repr(values)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3, None], r"record 1, field 'v': expected an array of shape \(\).*found None.*Put a number there"),
        ([3, pd.NA], r"record 1, field 'v': .*found <NA>.*Put a number there"),
        ([2.0, "a"], r"record 1, field 'v': .*found a str, which is no array"),
        ([[], ["a"]], r"record 1, field 'v': .*found a list, whose items are no numbers"),
        ([[1, 2], [1, None]], r"record 1, field 'v': expected numbers, found None among numbers \(at position 1\)"),
        (
            [(np.zeros(2), np.zeros(2)), (np.zeros(2), np.zeros(1))],
            r"record 1, field 'v': .*found a tuple, whose items",
        ),
        ([np.zeros(2), np.ma.array([1.0, 2.0], mask=[0, 1])], r"record 1, field 'v': .*masked values.*filled"),
        ([np.ma.array([1.0, 2.0], mask=[0, 1])], r"record 0, field 'v': .*1 masked values \(at position 1\)"),
        ([np.float32(1), np.ma.masked], r"record 1, field 'v': .*masked"),
    ],
)
def test_a_field_that_is_an_array_in_the_first_record_is_one_in_all(values: Any, message: str, workers: int) -> None:
    class Source:
        def __len__(self) -> int:
            return len(values)

        def __getitem__(self, number: int) -> Any:
            return {"n": number, "v": values[number]}

    with pytest.raises(RecordError, match=message):
        epoch(Source(), workers)
    with pytest.raises(RecordError, match=message):
        epoch(Source(), workers, stages=[lambda record: dict(record)])


@pytest.mark.parametrize("workers", [0, 2])
def test_views_of_bytes_arrive_as_bytes(workers: int) -> None:
    class Source:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, number: int) -> Any:
            return {"n": number, "raw": memoryview(b"abc")[number:]}

    assert column(epoch(Source(), workers), "raw") == [b"abc", b"bc", b"c"]


# --- names with a slash


def test_a_name_with_a_slash_is_found_whether_it_is_one_name_or_two() -> None:
    assert path_of("a/b", [("a/b",), ("c",)]) == ("a/b",)
    assert path_of("a/b", [("a", "b"), ("c",)]) == ("a", "b")
    assert path_of("a/b", [("c",)]) == ("a", "b")
    with pytest.raises(RecordError, match="expected one field of that name"):
        path_of("a/b", [("a", "b"), ("a/b",)])


@pytest.mark.parametrize("workers", [0, 2])
def test_flat_names_with_a_slash_work_everywhere(workers: int) -> None:
    records = [{"text/ids": np.arange(length), "image/format": f"f{length}", "n": length} for length in (2, 1, 3)]
    pad = Pad("text/ids", 4, to="longest", mask="text/mask", lengths="text/length", value=-1)
    first, second = epoch(records, workers, stages=[MapElement(dict), pad])
    assert first["text/ids"].tolist() == [[0, 1], [0, -1]]
    assert first["text/mask"].tolist() == [[True, True], [True, False]]
    assert second["text/length"].tolist() == [3]
    assert first.info["image/format"] == ["f2", "f1"]
    columns = {"image/encoded": [b"a", b"bc"], "image/size": np.array([[1, 1], [1, 2]])}
    [batch] = epoch(columns, workers)
    assert batch.info["image/encoded"] == [b"a", b"bc"]
    assert batch["image/size"].tolist() == [[1, 1], [1, 2]]


# --- foreign objects are not ours


@pytest.mark.parametrize("workers", [0, 2])
def test_attributes_of_a_users_source_are_its_own_affair(workers: int) -> None:
    class Source:
        config = SimpleNamespace(lr=1e-3, num_workers=4, shard_id=2, shuffle=True, track_metadata=True)
        rngs = "none of yours"
        name = object()

        def __len__(self) -> int:
            return 10

        def __getitem__(self, number: int) -> Any:
            return {"x": number}

        def reads_columns(self, fields: Any) -> bool:
            return True

    with Pipeline(source=Source(), batch_size=2, num_workers=workers, output="numpy") as pipeline:
        assert column(list(pipeline), "x") == list(range(10))
        assert pipeline.get_state()["fingerprint"]["source"] == "Source"
    with pytest.raises(ValueError, match="needs rngs"):
        Pipeline(source=Source(), batch_size=2, shuffle=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_derived_class_that_changes_a_record_is_heard(workers: int) -> None:
    class Doubled(MemorySource):
        def __getitem__(self, number: int) -> Any:
            return {"x": super().__getitem__(number)["x"] * 2}

    class Together:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, number: int) -> Any:
            return {"x": number}

        def __getitems__(self, numbers: list[int]) -> Any:
            return {"x": np.array(numbers)}

    class Changed(Together):
        def __getitem__(self, number: int) -> Any:
            return {"x": -number}

    class Both(Changed):
        def __getitems__(self, numbers: list[int]) -> Any:
            return {"x": np.array(numbers) + 100}

    class Wrapper:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == "inner":  # asked for while the object is unpickled
                raise AttributeError(name)
            return getattr(self.inner, name)

        def __len__(self) -> int:
            return len(self.inner)

        def __getitem__(self, number: int) -> Any:
            return {"x": self.inner[number]["x"] + 1000}

    plain = MemorySource(MemorySourceConfig(), {"x": np.arange(4)})
    assert column(epoch(Doubled(MemorySourceConfig(), {"x": np.arange(4)}), workers), "x") == [0, 2, 4, 6]
    assert column(epoch(Together(), workers), "x") == [0, 1, 2, 3]
    assert column(epoch(Changed(), workers), "x") == [0, -1, -2, -3]
    assert column(epoch(Both(), workers), "x") == [100, 101, 102, 103]
    assert column(epoch(Wrapper(Together()), workers), "x") == [1000, 1001, 1002, 1003]
    assert column(epoch(Wrapper(plain), workers), "x") == [1000, 1001, 1002, 1003]
