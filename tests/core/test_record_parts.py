"""Objects with named fields inside of records."""

from __future__ import annotations

import dataclasses
import datetime
from enum import Enum
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest
from flax import struct
from PIL import Image

from datarax_mp import FlatMap, MapBatch, Pad, Pipeline, RecordError
from datarax_mp.core.record import leaves_of, split_record
from tests.ways import WAYS, ways


class Size(NamedTuple):
    width: float
    height: float


@dataclasses.dataclass
class Plain:
    width: Any
    height: Any


@struct.dataclass
class Flax:
    width: Any
    height: Any


kinds = pytest.mark.parametrize("kind", [Size, Plain, Flax])


class Source:
    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": number, "size": self.values[number]}


@ways
@kinds
def test_their_fields_keep_their_names(kind: Any, way: str) -> None:
    """The first of them, and later ones; bare, within others, and with a stage that hands them on."""
    source = Source([kind(float(number), {"deep": kind(np.full(2, number), "text")}) for number in range(4)])
    for stages in ([], [lambda record: dict(record)]):
        with Pipeline(source=source, batch_size=2, stages=stages, output="numpy", **WAYS[way]) as pipeline:
            batches = list(pipeline)
        assert [batch["size"]["width"].tolist() for batch in batches] == [[0, 1], [2, 3]]
        assert batches[1]["size"]["height"]["deep"]["width"].tolist() == [[2, 2], [3, 3]]
        assert batches[1].info["size"]["height"]["deep"]["height"] == ["text", "text"]


@kinds
def test_stages_that_pad_that_work_on_batches_and_that_make_several_find_them(kind: Any) -> None:
    def sum_up(batch: dict[str, Any]) -> dict[str, Any]:
        return {"of": kind(batch["size"]["width"].sum(axis=1), batch["n"])}

    source = Source([kind([], 0), kind([1], 1), kind([1, 2], 2)])
    pad = Pad("size/width", 2)
    with Pipeline(source=source, batch_size=3, stages=[pad, MapBatch(sum_up)], output="numpy") as pipeline:
        [batch] = pipeline
    assert batch["of"]["width"].tolist() == [0, 1, 3]
    assert batch["of"]["width"].dtype == np.int64
    assert batch["of"]["height"].tolist() == [0, 1, 2]
    twice = FlatMap(lambda record: [{"size": kind(record["n"], place)} for place in range(2)], most=2)
    with Pipeline(source=source, batch_size=6, stages=[twice], output="numpy") as pipeline:
        [batch] = pipeline
    assert batch["size"]["width"].tolist() == [0, 0, 1, 1, 2, 2]


@dataclasses.dataclass
class Readable:
    """What says itself how it is read as an array."""

    width: float

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([self.width, 0.0])


class Colour(Enum):
    RED = 1


@dataclasses.dataclass
class Empty:
    """Without fields there is nothing that it could be taken apart into."""


def test_what_reads_as_an_array_stays_one() -> None:
    values = {
        "jax": jax.numpy.ones((2, 3)),
        "image": Image.new("RGB", (3, 2)),
        "series": pd.Series([1.0, 2.0], index=["a", "b"]),
        "readable": Readable(1.5),
        "list": [Size(1, 2), Size(3, 4), Size(5, 6)],
    }
    arrays, info = split_record(values, 0)
    assert {path: array.shape for path, array in arrays.items()} == {
        ("jax",): (2, 3),
        ("image",): (2, 3, 3),
        ("series",): (2,),
        ("readable",): (2,),
        ("list",): (3, 2),
    }
    assert not info


@pytest.mark.parametrize("value", ["text", datetime.datetime(2026, 1, 1), Colour.RED, Size, Empty(), {1}], ids=str)
def test_what_has_no_fields_stays_whole(value: Any) -> None:
    assert split_record({"n": 1, "value": value}, 0)[1] == {("value",): value}


@ways
def test_a_field_that_is_none_in_the_first_record_stays_whole_in_all(way: str) -> None:
    values = [None, Plain(1, 2), {"width": 3}]
    with Pipeline(source=Source(values), batch_size=3, output="numpy", **WAYS[way]) as pipeline:
        [batch] = pipeline
    assert batch.info["size"] == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [Size(1, 2), [1.0, 2.0]],
            r"record 1, field 'size/width': expected an array of shape \(\).*found no such field",
        ),
        ([[1.0, 2.0], Size(1, 2)], r"record 1, field 'size': expected an array of shape \(2,\).*found no such field"),
        ([Size(1, 2), Size(1, "text")], "record 1, field 'size/height': .*found a str, which is no array"),
    ],
)
def test_a_record_with_another_object_than_the_first_is_an_error(values: list[Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        list(Pipeline(source=Source(values), batch_size=2))


def test_objects_that_refer_to_each_other_in_a_circle_are_an_error() -> None:
    one = Plain(1, None)
    one.height = one
    with pytest.raises(RecordError, match="record 7: its objects refer to each other in a circle"):
        split_record({"one": one}, 7)


def test_names_must_be_text_there_too() -> None:
    with pytest.raises(RecordError, match="field names must be strings, found 1"):
        leaves_of({"one": Plain({1: 2}, 3)})
