"""Records that come out of iterators, against a plain reference."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import (
    Cache,
    Filter,
    FlatMap,
    IndexSampler,
    IterableSource,
    LengthGroups,
    MapBatch,
    MapElement,
    Pipeline,
    RandomMapElement,
    RecordError,
    ShardOptions,
    ShuffleWindow,
    WorkerTimeoutError,
)
from datarax_mp.order.lanes import Lanes
from tests.ways import WAYS, ways

LENGTHS = (9, 0, 4, 13)


class Numbers:
    """``make``: lane l counts from 100 l on, as far as a table says."""

    def __init__(self, lengths: tuple[int, ...] = LENGTHS) -> None:
        self.lengths = lengths

    def __call__(self, lane: int, lanes: int) -> Any:
        assert lanes == len(self.lengths)
        return ({"n": 100 * lane + place} for place in range(self.lengths[lane]))


class Knowing:
    """An iterator that says where it stands; what has no state is never passed over by it."""

    def __init__(self, first: int, length: int) -> None:
        self.first, self.length, self.at = first, length, 0

    def __iter__(self) -> Knowing:
        return self

    def __next__(self) -> dict[str, Any]:
        if self.at == self.length:
            raise StopIteration
        self.at += 1
        return {"n": self.first + self.at - 1}

    def get_state(self) -> Any:
        return {"at": self.at, "more": [1.5, None, "x", {"deep": [True]}]}

    def set_state(self, state: Any) -> None:
        assert state["more"] == [1.5, None, "x", {"deep": [True]}]
        self.at = state["at"]


class KnowingNumbers(Numbers):
    def __call__(self, lane: int, lanes: int) -> Any:
        return Knowing(100 * lane, self.lengths[lane])


class Dataset(Knowing):
    """As Hugging Face's: what is iterated knows, and its iterator is a generator."""

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        while self.at < self.length:
            yield next(self)

    state_dict = Knowing.get_state
    load_state_dict = Knowing.set_state


class Datasets(Numbers):
    def __call__(self, lane: int, lanes: int) -> Any:
        return Dataset(100 * lane, self.lengths[lane])


class Tupled(Knowing):
    """Its state is no plain value."""

    def get_state(self) -> Any:
        return {"where": ["x", (self.at,)]}

    def set_state(self, state: Any) -> None:
        [self.at] = state["where"][1]


class TupledNumbers(Numbers):
    def __call__(self, lane: int, lanes: int) -> Any:
        return Tupled(100 * lane, self.lengths[lane])


MAKES = {"counted": Numbers, "its iterator knows": KnowingNumbers, "the data set knows": Datasets}


def reference(
    lengths: tuple[int, ...] = LENGTHS,
    *,
    rows: int,
    window: int = 1,
    seed: int = 0,
    epoch: int = 0,
    drop_last: bool = False,
    items: Any = lambda n: [n],
) -> list[list[int]]:
    """The batches of an epoch, without anything of the package but the permutation of a window."""
    lanes = []
    for lane, length in enumerate(lengths):
        found: list[int] = []
        for number, first in enumerate(range(0, length, window)):
            size = min(window, length - first)
            order = Lanes(len(lengths), window).window_order(seed, epoch, lane, number, size).tolist()
            found += [item for place in order for item in items(100 * lane + first + place)]
        batches = [found[at : at + rows] for at in range(0, len(found), rows)]
        lanes.append([batch for batch in batches if len(batch) == rows or not drop_last])
    turns = itertools.zip_longest(*lanes)
    return [batch for turn in turns for batch in turn if batch is not None]


def make(source: Any = None, **more: Any) -> Pipeline:
    source = Numbers() if source is None else source
    usual: dict[str, Any] = {"batch_size": 3, "output": "numpy"}
    return Pipeline(source=IterableSource(source, lanes=len(source.lengths)), **usual | more)


def batches(pipeline: Any, name: str = "n") -> list[list[int]]:
    return [batch[name].tolist() for batch in pipeline]


@ways
@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("shuffle", [None, ShuffleWindow(records=5)])
def test_the_stream_is_that_of_the_reference_and_resumes_at_every_step(way: str, kind: str, shuffle: Any) -> None:
    window = 1 if shuffle is None else 5
    expected = reference(rows=3, window=window, seed=7)
    with make(MAKES[kind](), shuffle=shuffle, seed=7, **WAYS[way]) as pipeline:
        iterator = iter(pipeline)
        states, found = [iterator.get_state()], []
        for batch in iterator:
            found.append(batch["n"].tolist())
            states.append(iterator.get_state())
        assert found == expected
        assert iterator.get_state()["epoch"] == 1
        for step, state in enumerate(states):
            pipeline.set_state(json.loads(json.dumps(state)))
            assert batches(pipeline) == expected[step:]
        assert batches(pipeline) == reference(rows=3, window=window, seed=7, epoch=1)


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any),
    rows=st.integers(1, 5),
    window=st.integers(1, 6),
    drop_last=st.booleans(),
    place=st.integers(0, 40),
)
def test_with_filters_and_items_the_stream_is_the_references(
    lengths: list[int], rows: int, window: int, drop_last: bool, place: int
) -> None:
    def items(n: int) -> list[int]:
        return [] if n % 3 == 1 else [10 * n + item for item in range(n % 4)]

    table = tuple(lengths)
    stages = [
        Filter(lambda record: record["n"] % 3 != 1),
        FlatMap(lambda record: [{"n": 10 * record["n"] + item} for item in range(record["n"] % 4)], most=3),
    ]
    expected = reference(table, rows=rows, window=window, seed=1, drop_last=drop_last, items=items)
    more = {"batch_size": rows, "stages": stages, "shuffle": ShuffleWindow(records=window), "seed": 1}
    with make(KnowingNumbers(table), drop_last=drop_last, **more) as pipeline:
        if not any(items(n) for lane, length in enumerate(table) for n in range(100 * lane, 100 * lane + length)):
            with pytest.raises(RecordError, match="gives no record"):
                iter(pipeline)
            return
        assert batches(pipeline) == expected
        pipeline.set_state({**pipeline.get_state(), "epoch": 0, "step": 0})
        iterator = iter(pipeline)
        for _ in range(min(place, len(expected))):
            next(iterator)
        pipeline.set_state(iterator.get_state())
        assert batches(pipeline) == expected[place:]


@ways
def test_random_stages_draw_the_same_whoever_does_them_and_for_each_item_other_numbers(way: str) -> None:
    def draw(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**record, "draw": rng.integers(1 << 60)}

    twice = FlatMap(lambda record: [record, record], most=2)
    stages = [twice, RandomMapElement(draw), MapBatch(lambda batch: {**batch, "sum": batch["n"] * 2})]
    with make(stages=stages, seed=3) as pipeline:
        expected = [batch.get_data() for batch in pipeline]
    draws = [draw for batch in expected for draw in batch["draw"].tolist()]
    assert len(set(draws)) == len(draws) == 2 * sum(LENGTHS)
    with make(stages=stages, seed=3, **WAYS[way]) as pipeline:
        for batch, wanted in zip(pipeline, expected, strict=True):
            for name in ("n", "draw", "sum"):
                assert batch[name].tolist() == wanted[name].tolist()


@ways
def test_a_stream_of_several_epochs_begins_every_lane_anew(way: str) -> None:
    epochs = [reference(rows=3, window=4, epoch=epoch) for epoch in range(4)]
    with make(shuffle=ShuffleWindow(records=4), seed=0, num_epochs=2, **WAYS[way]) as pipeline:
        assert batches(pipeline) == epochs[0] + epochs[1]
        iterator = iter(pipeline)
        first = [next(iterator)["n"].tolist() for _ in range(len(epochs[2]) + 1)]
        assert first == epochs[2] + epochs[3][:1]
        pipeline.set_state(iterator.get_state())
        assert batches(pipeline) == epochs[3][1:]


def test_a_stream_without_end_over_lanes_that_are_empty_ends() -> None:
    class Once(Numbers):
        calls = 0

        def __call__(self, lane: int, lanes: int) -> Any:
            self.calls += 1
            return super().__call__(lane, lanes) if self.calls <= 1 + len(self.lengths) else iter(())

    with make(Once((5, 2)), num_epochs=None) as pipeline:
        assert batches(pipeline) == reference((5, 2), rows=3)


@ways
def test_an_iterator_that_is_left_early_leaves_the_next_epoch_whole(way: str) -> None:
    with make(**WAYS[way]) as pipeline:
        for _ in range(3):
            iterator = iter(pipeline)
            next(iterator), next(iterator)
            iterator.close()
        assert batches(pipeline) == reference(rows=3)
        assert pipeline.epoch == 4
        one, other = iter(pipeline), iter(pipeline)
        both = [(a["n"].tolist(), b["n"].tolist()) for a, b in zip(one, other, strict=True)]
        assert [a for a, _ in both] == [b for _, b in both] == reference(rows=3)


def test_a_lane_is_opened_once_an_epoch_and_once_more_to_see_a_record() -> None:
    calls = []

    class Counting(Numbers):
        def __call__(self, lane: int, lanes: int) -> Any:
            calls.append(lane)
            return super().__call__(lane, lanes)

    for workers in ({"num_workers": 0}, {"num_workers": 2, "workers": "threads"}):
        with make(Counting(), **workers) as pipeline:
            batches(pipeline)
        assert sorted(calls) == [0, 0, 1, 2, 3]
        calls.clear()


@ways
def test_pad_last_fills_up_what_is_left_of_each_lane_and_nobody_gets_a_batch_of_padding(way: str) -> None:
    with make(Numbers((3, 4)), pad_last=True, **WAYS[way]) as pipeline:
        found = [(batch["n"].tolist(), np.asarray(batch.valid_mask).tolist()) for batch in pipeline]
    assert found == [([0, 1, 2], [1, 1, 1]), ([100, 101, 102], [1, 1, 1]), ([103, 0, 0], [1, 0, 0])]


def test_metadata_say_lane_and_place_by_the_records_number() -> None:
    with make(Numbers((2, 3)), batch_size=2, output="jax") as pipeline:
        found = [[(one.index, one.epoch, one.batch_idx) for one in batch.metadata] for batch in pipeline]
    assert [[index for index, *_ in batch] for batch in found] == [[0, 2], [1, 3], [5]]


def test_single_elements_come_in_the_order_of_their_lanes() -> None:
    with make(Numbers((2, 1)), batch_size=2, enforce_batch=False) as pipeline:
        assert [int(element["n"]) for element in pipeline] == [0, 100, 1]


def test_nobody_knows_a_length() -> None:
    with make() as pipeline:
        with pytest.raises(TypeError, match="IterableSource has no length"):
            len(pipeline)
        assert repr(pipeline) == "Pipeline(IterableSource, 4 lanes, batch_size=3, num_workers=0)"


class Raising:
    """An iterator that raises at some records, and goes on."""

    def __init__(self, length: int, bad: set[int]) -> None:
        self.coming, self.bad = iter(range(length)), bad

    def __iter__(self) -> Raising:
        return self

    def __next__(self) -> dict[str, Any]:
        number = next(self.coming)
        if number in self.bad:
            raise OSError(f"record {number} is torn")
        return {"n": number}


class Torn(Numbers):
    def __call__(self, lane: int, lanes: int) -> Any:
        return Raising(self.lengths[lane], {1, 5})


class TornGenerators(Numbers):
    def __call__(self, lane: int, lanes: int) -> Any:
        yield from Raising(self.lengths[lane], {4})


@ways
def test_what_an_iterator_raises_comes_behind_the_batches_before_and_comes_again(way: str) -> None:
    with make(TornGenerators((9, 3)), **WAYS[way]) as pipeline:
        iterator = iter(pipeline)
        assert [next(iterator)["n"].tolist() for _ in range(2)] == [[0, 1, 2], [0, 1, 2]]
        with pytest.raises(OSError, match="record 4 is torn") as raised:
            next(iterator)
        notes = " ".join(raised.value.__notes__)
        assert "while reading record 4 of lane 0 of IterableSource" in notes
        assert "(step 2 of epoch 0, lane 0)" in notes
        pipeline.set_state(iterator.get_state())
        with pytest.raises(OSError, match="record 4 is torn"):
            next(iter(pipeline))


@ways
def test_on_error_skip_goes_on_behind_a_broken_record_where_the_iterator_does(way: str) -> None:
    with make(Torn((8,)), on_error="skip", **WAYS[way]) as pipeline:
        iterator = iter(pipeline)
        assert next(iterator)["n"].tolist() == [0, 2]
        pipeline.set_state(iterator.get_state())
        assert batches(pipeline) == [[3, 4], [6, 7]]
        assert [skip.record for skip in pipeline.skips] == [1, 5]
    with make(TornGenerators((8,)), on_error="skip", **WAYS[way]) as pipeline:
        assert batches(pipeline) == [[0, 1, 2], [3]]
        assert pipeline.skipped == 1


def test_an_iterator_that_does_nothing_but_raise_is_an_error_all_the_same() -> None:
    class Never:
        calls = 0

        def __iter__(self) -> Never:
            return self

        def __next__(self) -> Any:
            self.calls += 1
            if self.calls > 2:
                raise OSError("gone")
            return {"n": self.calls}

    source = IterableSource(lambda lane, lanes: Never(), lanes=1)
    with (
        Pipeline(source=source, batch_size=100, on_error="skip", output="numpy") as pipeline,
        pytest.raises(OSError, match="gone"),
    ):
        list(pipeline)


@ways
def test_on_error_skip_leaves_out_records_that_stages_fail_at(way: str) -> None:
    def odd(record: dict[str, Any]) -> bool:
        if record["n"] == 4:
            raise ValueError("no filter")
        return bool(record["n"] % 2 == 0)

    def change(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 8:
            raise ValueError("no map")
        return record

    with make(Numbers((14,)), stages=[Filter(odd), MapElement(change)], on_error="skip", **WAYS[way]) as pipeline:
        assert batches(pipeline) == [[0, 2], [6, 10], [12]]
        [first, second] = pipeline.skips
        assert (first.record, second.record) == (4, 8)
        assert first.reason == "ValueError: no filter; while stage Filter(odd) worked on record 4 of lane 0"
        assert second.reason == "ValueError: no map; while stage MapElement(change) worked on record 8 of lane 0"


def test_a_batch_that_takes_too_long_is_told_and_the_pipeline_goes_on() -> None:
    over = threading.Event()

    def slow(lane: int, lanes: int) -> Iterator[dict[str, Any]]:
        yield from ({"n": number} for number in range(4))
        over.wait()

    source = IterableSource(slow, lanes=1)
    more = {"batch_size": 3, "output": "numpy", "num_workers": 1, "workers": "threads"}
    with Pipeline(source=source, timeout=2.0, **more) as pipeline:
        iterator = iter(pipeline)
        assert next(iterator)["n"].tolist() == [0, 1, 2]
        with pytest.raises(WorkerTimeoutError, match="step 1 of epoch 0"):
            next(iterator)
        over.set()


def test_a_state_of_an_iterator_that_is_no_plain_value_is_an_error_that_says_what_it_is() -> None:
    with make(TupledNumbers(), num_workers=2) as pipeline:
        iterator = iter(pipeline)
        next(iterator)
        with pytest.raises(TypeError, match=r"lane 0: .* state\['where'\]\[1\] is a tuple"):
            iterator.get_state()
        assert len(list(iterator)) == len(reference(rows=3)) - 1


def test_a_state_is_read_only_where_it_belongs() -> None:
    with make() as pipeline:
        state = pipeline.get_state()
        for lanes in (None, [], [[0, 0, 0, False]] * 4, [[0, 0, -1, False, None]] * 4, [[0.5, 0, 0, False, None]] * 4):
            with pytest.raises(ValueError, match="a state's lanes"):
                pipeline.set_state({**state, "lanes": lanes})
        for more in ({"batch_size": 4}, {"shuffle": ShuffleWindow(records=2), "seed": 0}, {"drop_last": True}):
            with make(**more) as other, pytest.raises(ValueError, match="belongs to another pipeline"):
                other.set_state(state)
        with make(batch_size=4) as other, pytest.raises(ValueError, match="go on only with"):
            other.set_state(state, elastic=True)
        cursors = [[50, 0, 0, False, None]] * 4
        pipeline.set_state({**state, "lanes": cursors})
        with pytest.raises(RecordError, match="lane 0 of IterableSource: expected more than 50 records"):
            list(pipeline)
        known = [[1, 0, 0, False, {"at": 1}]] * 4
        pipeline.set_state({**state, "lanes": known})
        with pytest.raises(TypeError, match="has neither load_state_dict nor set_state"):
            list(pipeline)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "sampler": ({"sampler": IndexSampler([1, 2])}, "IndexSampler is about records"),
    "batch_by": ({"batch_by": LengthGroups([1, 2, 3])}, "LengthGroups is about records"),
    "shuffle": ({"shuffle": True, "seed": 0}, "ShuffleWindow"),
    "blocks": ({"shuffle": ShuffleWindow(blocks=2), "seed": 0}, "read in blocks"),
    "shard": ({"shard": ShardOptions(0, 2), "drop_last": True}, "has no shards"),
    "cache": ({"stages": [Cache(budget=1000)]}, "Cache keeps records by number"),
    "retries": ({"retries": 1}, "cannot be asked for a record twice"),
    "seed": ({"shuffle": ShuffleWindow(records=2)}, "needs rngs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_combined_is_an_error_when_the_pipeline_is_made(name: str) -> None:
    more, words = WRONG[name]
    with pytest.raises(ValueError, match=words):
        make(**more)


def test_questions_that_need_steps_beforehand_are_errors() -> None:
    with make() as pipeline:
        questions = {
            "at": lambda: pipeline.at(0, 0),
            "records": lambda: pipeline.records(0, 0),
            "find": lambda: pipeline.find(0, 0),
            "skip": lambda: pipeline.skip([1]),
            "stacked": lambda: pipeline.stacked(2),
        }
        for name, ask in questions.items():
            with pytest.raises(ValueError, match="know which steps|made together"):
                ask()
            assert batches(pipeline) == reference(rows=3), name


def test_fields_name_the_items_of_tuples_before_filters_see_them() -> None:
    source = IterableSource(lambda lane, lanes: zip(range(6), range(6), strict=True), lanes=1)
    more = {"fields": ("n", "m"), "stages": [Filter(lambda record: record["m"] % 2)], "output": "numpy"}
    with Pipeline(source=source, batch_size=2, **more) as pipeline:
        assert batches(pipeline) == [[1, 3], [5]]


class Told(Numbers):
    """A ``make`` that is told the epoch."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, lane: int, lanes: int) -> Any:
        return ({"n": 1000 * self.epoch + place} for place in range(self.lengths[lane]))


@ways
def test_what_has_a_set_epoch_is_told_the_epoch_before_lanes_are_opened(way: str) -> None:
    with make(Told((4, 2)), **WAYS[way]) as pipeline:
        for epoch in range(2):
            assert batches(pipeline) == [[1000 * epoch + place for place in some] for some in ([0, 1, 2], [0, 1], [3])]


class Drawing(Numbers):
    """Its records are drawn from a global generator."""

    def __call__(self, lane: int, lanes: int) -> Any:
        return ({"n": np.random.randint(1 << 30)} for _ in range(self.lengths[lane]))


def test_iterators_that_draw_from_global_generators_give_the_same_stream_whoever_has_them() -> None:
    with make(Drawing(), seed=5) as pipeline:
        expected = batches(pipeline)
    for workers in (1, 3):
        with make(Drawing(), seed=5, num_workers=workers) as pipeline:
            assert batches(pipeline) == expected
    with make(Drawing(), seed=5) as pipeline:
        iterator = iter(pipeline)
        for _ in range(5):
            next(iterator)
        pipeline.set_state(iterator.get_state())
        assert batches(pipeline) == expected[5:]


def test_the_ledger_of_a_stream_of_lanes_is_the_same_for_all_workers(tmp_path: Any) -> None:
    for name, way in (("a", {}), ("b", {"num_workers": 2})):
        with make(ledger=tmp_path / name, **way) as pipeline:
            batches(pipeline)
    first, second = ((tmp_path / name).read_bytes() for name in "ab")
    assert first == second


def test_only_sources_of_iterators_do_without_a_length(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(TypeError, match=r"IterableSource\(make\)"):
        Pipeline(source=(number for number in range(3)), batch_size=2)
