"""A StopIteration of the user's code is an error, whoever calls the code: it must not pass for the end of the epoch."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flax import nnx

import datarax_mp
from datarax_mp import (
    DeviceStage,
    Filter,
    FlatMap,
    IterableSource,
    MapBatch,
    MapElement,
    Pipeline,
    RandomMapElement,
)
from tests.ways import WAYS, ways

LENGTH, BATCH, BAD = 40, 4, 22
raises_end = pytest.raises(RuntimeError, match="raised Stop(Async)?Iteration, which would end the loop")
numbered = [{"n": n, "tags": [n] if n != BAD else []} for n in range(LENGTH)]


class Records:
    """A source that is at its wits' end over one record."""

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, int]:
        if number == BAD:
            raise StopIteration("no such thing")
        return {"n": number}


class Together(Records):
    def __getitems__(self, numbers: list[int]) -> list[dict[str, int]]:
        return [self[number] for number in numbers]


class Writes(Records):
    def read_into(self, numbers: Any, out: dict[str, np.ndarray]) -> None:
        out["n"][...] = [self[int(number)]["n"] for number in numbers]


def first_tag(record: dict[str, Any]) -> dict[str, int]:
    return {"n": next(tag for tag in record["tags"])}


def async_end(record: dict[str, Any]) -> dict[str, int]:
    if not record["tags"]:
        raise StopAsyncIteration
    return {"n": record["n"]}


def whole(batch: dict[str, Any]) -> dict[str, Any]:
    if BAD in batch["n"]:
        raise StopIteration
    return batch


def stage(made: Any) -> dict[str, Any]:
    return {"source": [{"n": r["n"], "tags": tuple(r["tags"])} for r in numbered], "stages": [made], "seed": 0}


BY_RECORD: dict[str, dict[str, Any]] = {
    "__getitem__": {"source": Records()},
    "__getitems__": {"source": Together()},
    "read_into": {"source": Writes()},
    "MapElement": stage(MapElement(first_tag)),
    "RandomMapElement": stage(RandomMapElement(lambda record, rng: first_tag(record))),
    "StopAsyncIteration": stage(MapElement(async_end)),
    "MapBatch": {"source": [{"n": n} for n in range(LENGTH)], "stages": [MapBatch(whole)]},
}


@pytest.mark.parametrize("case", BY_RECORD)
@ways
def test_what_ends_iterators_is_an_error_behind_the_batches_before_it(way: str, case: str) -> None:
    found: list[int] = []
    with Pipeline(batch_size=BATCH, output="numpy", **BY_RECORD[case], **WAYS[way]) as pipeline:
        with raises_end as caught:
            for batch in pipeline:
                found += batch["n"].tolist()
        assert type(caught.value) is RuntimeError
        assert found == list(range(BAD - BAD % BATCH))
        assert any("step 5 of epoch 0" in note for note in caught.value.__notes__)
        assert "StopIteration" in repr(caught.value.__cause__) or "StopAsyncIteration" in repr(caught.value.__cause__)
        with raises_end:
            pipeline.at(0, BAD // BATCH)
        assert pipeline.at(0, 0)["n"].tolist() == list(range(BATCH))


def before_records(raised: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    class Listens(Records):
        def set_epoch(self, epoch: int) -> None:
            raised()

    class Opens(Records):
        def __enter__(self) -> Any:
            raised()

        def __exit__(self, *about: object) -> None:
            pass

    return {
        "set_epoch": {"source": Listens()},
        "__enter__": {"source": Opens()},
        "worker_init": {"source": Records(), "worker_init": raised},
        "Filter": stage(Filter(lambda record: bool(first_tag(record)))),
        "FlatMap": stage(FlatMap(lambda record: [first_tag(record)], most=2)),
        "make": {"source": IterableSource(lambda lane, lanes: raised(), lanes=1)},
        "__iter__": {"source": IterableSource(lambda lane, lanes: NoIterator(), lanes=1)},
    }


class NoIterator:
    def __iter__(self) -> Any:
        raise StopIteration


def ends(*about: Any) -> Any:
    return next(iter(()))


@pytest.mark.parametrize("case", before_records(ends))
@ways
def test_what_ends_iterators_before_a_record_is_read_is_an_error_of_iter(way: str, case: str) -> None:
    with Pipeline(batch_size=BATCH, output="numpy", **before_records(ends)[case], **WAYS[way]) as pipeline:
        chained = itertools.chain.from_iterable([pipeline])  # for which a StopIteration of ``iter`` is the end
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            list(chained)


@ways
def test_an_iterator_of_a_lane_ends_the_lane_alone(way: str) -> None:
    def make(lane: int, lanes: int) -> Any:
        return iter([{"n": lane}])

    with Pipeline(source=IterableSource(make, lanes=3), batch_size=2, output="numpy", **WAYS[way]) as pipeline:
        assert [batch["n"].tolist() for batch in pipeline] == [[0], [1], [2]]


class Ends(nnx.Module):
    def __call__(self, batch: Any) -> Any:
        raise StopIteration


@pytest.mark.parametrize("made", [DeviceStage(ends), Ends()], ids=["DeviceStage", "nnx.Module"])
@ways
def test_what_ends_iterators_on_the_device_is_an_error(way: str, made: Any) -> None:
    with Pipeline(source={"n": np.arange(8)}, batch_size=BATCH, stages=[made], **WAYS[way]) as pipeline:
        with raises_end:
            list(pipeline)
        with raises_end:
            pipeline.step()
        with raises_end:
            pipeline.at(0, 1)


@ways
def test_what_ends_iterators_in_on_skip_is_an_error(way: str) -> None:
    source = [{"n": n} for n in range(LENGTH)]

    def bad(record: dict[str, int]) -> dict[str, int]:
        if record["n"] == 3:
            raise ValueError("no")
        return record

    with Pipeline(
        source=source, batch_size=BATCH, stages=[bad], on_error="skip", on_skip=ends, output="numpy", **WAYS[way]
    ) as pipeline:
        iterator = iter(pipeline)
        with raises_end:
            next(iterator)
        assert next(iterator, None) is None


@ways
def test_a_record_over_which_an_iterator_ends_is_skipped_like_any_other(way: str) -> None:
    with Pipeline(source=Records(), batch_size=BATCH, on_error="skip", output="numpy", **WAYS[way]) as pipeline:
        found = [n for batch in pipeline for n in batch["n"].tolist()]
        assert found == [n for n in range(LENGTH) if n != BAD]
        assert [skip.record for skip in pipeline.skips] == [BAD]


def test_a_source_whose_length_ends_iterators_is_an_error_of_iter() -> None:
    class Shrinks(Records):
        known = True

        def __len__(self) -> int:
            return LENGTH if self.known else ends()

    source = Shrinks()
    with Pipeline(source=source, batch_size=BATCH) as pipeline:
        source.known = False
        with raises_end:
            list(itertools.chain.from_iterable([pipeline]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_scan_returns_all_or_raises(workers: int) -> None:
    with raises_end:
        datarax_mp.scan(numbered, lambda record: first_tag(record)["n"], num_workers=workers)


def test_what_a_filter_has_left_is_not_remembered_where_it_could_not_be_asked_about_all() -> None:
    source = datarax_mp.MemorySource(datarax_mp.MemorySourceConfig(), numbered)
    stages = [Filter(lambda record: bool(first_tag(record)))]
    for _ in range(2):
        with Pipeline(source=source, batch_size=BATCH, stages=stages, num_workers=0) as pipeline, raises_end:
            list(pipeline)


def test_the_error_keeps_no_iterator_alive() -> None:
    with Pipeline(source={"n": np.arange(8)}, batch_size=BATCH, stages=[DeviceStage(ends)]) as pipeline:
        iterator = iter(pipeline)
        with pytest.raises(RuntimeError):
            next(iterator)
        gone = weakref.ref(iterator)
        del iterator
        assert gone() is None
