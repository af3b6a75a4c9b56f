"""Mixtures of sources, read by number and by pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import (
    ConcatSource,
    Filter,
    MapElement,
    MemorySource,
    MemorySourceConfig,
    MixSource,
    Pipeline,
    RecordError,
    ShardOptions,
)


class Squares:
    """Records without a quick way to read several."""

    def __init__(self, length: int, begin: int) -> None:
        self.length, self.begin = length, begin

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": np.int64(self.begin + number)}


def three() -> dict[str, Any]:
    """Columns, records and a class of the user's; each source's x begins at another thousand."""
    return {"a": {"x": np.arange(7)}, "b": [{"x": 1000 + n} for n in range(20)], "c": Squares(50, 2000)}


WEIGHTS = {"a": 3, "b": 2, "c": 5}


def mixture(**more: Any) -> MixSource:
    return MixSource(three(), more.pop("weights", WEIGHTS), **more)


def stream(source: Any, epochs: int = 2, **options: Any) -> list[tuple[list[int], list[str]]]:
    options = {"batch_size": 8, "output": "numpy", "seed": 5, "shuffle": True, **options}
    with Pipeline(source=source, **options) as pipeline:
        return [(batch["x"].tolist(), batch.info["source"]) for _ in range(epochs) for batch in pipeline]


def test_by_number_it_is_one_source_behind_the_other() -> None:
    source = mixture()
    assert len(source) == 77
    records = [source[number] for number in range(77)]
    assert [int(record["x"]) for record in records] == [*range(7), *range(1000, 1020), *range(2000, 2050)]
    assert [record["source"] for record in records] == ["a"] * 7 + ["b"] * 20 + ["c"] * 50
    assert source[-1]["x"] == 2049
    with pytest.raises(IndexError, match="record 77 is outside of the 77 records"):
        source[77]


def test_several_at_once_are_what_each_is_alone() -> None:
    source, numbers = mixture(), [76, 0, 8, 6, 30, 7]
    together = source.__getitems__(numbers)
    assert [dict(record) for record in together] == [source[number] for number in numbers]  # type: ignore[union-attr]
    columns = MixSource([{"x": np.arange(3)}, {"x": np.arange(4)}], [1, 1]).__getitems__([6, 0, 3])
    assert isinstance(columns, dict)
    assert columns["x"].tolist() == [3, 0, 0]
    assert columns["source"] == ["1", "0", "1"]


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_mixture(workers: int) -> None:
    assert stream(mixture(), num_workers=workers) == stream(mixture())


def test_every_row_says_what_it_is_of_and_shares_are_exact() -> None:
    batches = stream(mixture(), epochs=10)
    rows = [(x, name) for xs, names in batches for x, name in zip(xs, names, strict=True)]
    assert all("abc"[x // 1000] == name for x, name in rows)
    for records in range(1, len(rows)):
        for name, weight in WEIGHTS.items():
            assert abs(sum(of == name for _, of in rows[:records]) - records * weight / 10) < 1


def test_each_source_has_epochs_of_its_own_over_the_epochs_of_the_mixture() -> None:
    xs = [x for xs, _ in stream(mixture(), epochs=3) for x in xs]
    for begin, length in ((0, 7), (1000, 20), (2000, 50)):
        own = [x - begin for x in xs if begin <= x < begin + 1000]
        rounds = [own[n : n + length] for n in range(0, len(own) - length + 1, length)]
        assert all(sorted(round_) == list(range(length)) for round_ in rounds)
        assert len({tuple(round_) for round_ in rounds}) == len(rounds)


@pytest.mark.parametrize("stop", ["repeat", "first", "last"])
def test_a_run_goes_on_at_every_step_where_it_stopped(stop: Any) -> None:
    expected = stream(mixture(stop=stop))

    def make() -> Pipeline:
        return Pipeline(source=mixture(stop=stop), batch_size=8, seed=5, shuffle=True, output="numpy")

    with make() as pipeline:
        states, steps = [pipeline.get_state()], len(pipeline)
        for _ in range(2):
            for _ in pipeline:
                states.append(pipeline.get_state())
    assert len(expected) == 2 * steps
    for done, state in enumerate(states):
        with make() as pipeline:
            pipeline.set_state(state)
            rest = [(batch["x"].tolist(), batch.info["source"]) for batch in pipeline]
            assert rest == expected[done : (state["epoch"] + 1) * steps]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shards_side_by_side_are_the_mixture(count: int) -> None:
    whole = stream(mixture(), batch_size=6 * count, drop_last=True)
    shards = [
        stream(mixture(), batch_size=6, drop_last=True, shard=ShardOptions(index, count)) for index in range(count)
    ]
    together = [
        tuple([value for part in parts for value in part[column]] for column in range(2))
        for parts in zip(*shards, strict=True)
    ]
    assert together == whole


def test_another_batch_size_goes_on_from_the_same_record() -> None:
    flat = [x for xs, _ in stream(mixture(), epochs=1) for x in xs]
    with Pipeline(source=mixture(), batch_size=8, seed=5, shuffle=True, output="numpy") as pipeline:
        iterator = iter(pipeline)
        next(iterator), next(iterator)
        state = pipeline.get_state()
    with Pipeline(source=mixture(), batch_size=5, seed=0, shuffle=True, output="numpy", num_workers=1) as pipeline:
        pipeline.set_state(state, elastic=True)
        assert [x for batch in pipeline for x in batch["x"].tolist()] == flat[16:]


def test_a_state_of_other_weights_or_of_no_mixture_is_an_error() -> None:
    with Pipeline(source=mixture(), batch_size=8, seed=5, shuffle=True) as pipeline:
        state = pipeline.get_state()
    for other in (mixture(weights=[3, 2, 6]), mixture(stop="last"), ConcatSource(list(three().values()))):
        with (
            Pipeline(source=other, batch_size=8, seed=5, shuffle=True) as pipeline,
            pytest.raises(ValueError, match="choice: the state has 'MixSource of 3"),
        ):
            pipeline.set_state(state, elastic=True)


def test_a_schedule_changes_the_weights_at_the_very_record() -> None:
    source = mixture(schedule=[(20, {"a": 0, "b": 0, "c": 1}), (60, {"a": 1, "b": 1, "c": 0})])
    names = [name for _, names in stream(source) for name in names]
    assert set(names[:20]) == {"a", "b", "c"}
    assert set(names[20:60]) == {"c"}
    assert set(names[60:]) == {"a", "b"}


def test_a_mixture_that_ends_has_every_record_once_or_stops_with_the_first_source() -> None:
    last = [x for xs, _ in stream(mixture(stop="last"), epochs=1) for x in xs]
    assert sorted(last) == [*range(7), *range(1000, 1020), *range(2000, 2050)]
    first = [x for xs, _ in stream(mixture(stop="first"), epochs=1) for x in xs]
    assert len(set(first)) == len(first)
    assert sum(x < 1000 for x in first) == 7
    assert first[-1] < 1000


def test_filters_leave_the_weights_as_they_are() -> None:
    rows = stream(mixture(), epochs=4, stages=[Filter(lambda record: record["x"] % 2 == 0)])
    xs = [x for xs, _ in rows for x in xs]
    assert not any(x % 2 for x in xs)
    assert len(xs) == 4 * (4 + 10 + 25)
    assert abs(sum(x < 1000 for x in xs) - 0.3 * len(xs)) < 1


def test_by_default_those_are_shuffled_whose_config_says_so() -> None:
    shuffled = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(50)}, rngs=np.random.default_rng(0))
    source = MixSource([shuffled, {"x": 1000 + np.arange(50)}], [1, 1])
    xs = [x for xs, _ in stream(source, epochs=1, shuffle=None, seed=None) for x in xs]
    assert [x for x in xs if x >= 1000] == list(range(1000, 1050))
    assert sorted(x for x in xs if x < 1000) == list(range(50)) != [x for x in xs if x < 1000]


def test_what_a_source_lacks_has_a_default() -> None:
    sources = {"a": {"x": np.arange(4), "y": np.arange(4, dtype=np.float32)}, "b": [{"x": 5, "text": "there"}] * 3}
    source = MixSource(sources, [1, 1], defaults={"y": np.float32(-1), "text": "none"})
    for workers in (0, 1):
        with Pipeline(source=source, batch_size=4, output="numpy", num_workers=workers) as pipeline:
            batch = next(iter(pipeline))
        assert batch["y"].tolist() == [0, -1, 1, -1]
        assert batch.info["text"] == ["none", "there", "none", "there"]
    columns = MixSource([{"x": [1]}, {"x": [2], "y": [3]}], [1, 1], defaults={"y": 7}).__getitems__([1, 0])
    assert isinstance(columns, dict)
    assert columns["y"].tolist() == [3, 7]


def test_what_a_source_lacks_without_a_default_is_an_error() -> None:
    source = MixSource([{"x": np.arange(4), "y": np.arange(4)}, {"x": np.arange(4)}], [1, 1])
    with (
        Pipeline(source=source, batch_size=4, output="numpy") as pipeline,
        pytest.raises(RecordError, match="field.*'y'"),
    ):
        next(iter(pipeline))


def test_bare_values_and_stages() -> None:
    source = MixSource([np.arange(4), np.arange(10, 14)], [1, 1], tag="of")
    stage = MapElement(lambda record: {**record, "twice": 2 * record["value"]})
    with Pipeline(source=source, batch_size=8, output="numpy", stages=[stage], num_workers=1) as pipeline:
        [batch] = pipeline
    assert batch["value"].tolist() == [0, 10, 1, 11, 2, 12, 3, 13]
    assert batch["twice"].tolist() == [0, 20, 2, 22, 4, 24, 6, 26]
    assert batch.info["of"] == ["0", "1"] * 4


def test_without_a_tag_records_are_as_they_are() -> None:
    source = MixSource([[(1, 2)], [(3, 4)]], [1, 1], tag=None)
    with Pipeline(source=source, batch_size=2, output="numpy", fields=("x", "y")) as pipeline:
        [batch] = pipeline
    assert batch["x"].tolist() == [1, 3]
    assert batch.info == {}


def test_a_record_that_cannot_be_tagged_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"source '0' is a tuple.*tag=None"):
        MixSource([[(1, 2)]], [1])[0]
    for source in (MixSource([{"source": [1]}], [1]), MixSource([[{"source": 1}]], [1])):
        with pytest.raises(RecordError, match="records of source '0' have a field 'source'"):
            source[0]
        with pytest.raises(RecordError, match="records of source '0' have a field 'source'"):
            source.__getitems__([0])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"weights": {"a": 1}}, ValueError, r"weights must be given for each source, \['a', 'b', 'c'\]; found \['a'\]"),
        ({"weights": [1, 2]}, ValueError, "weights must be as many as sources, 3; found 2"),
        ({"weights": [1, 2, -1]}, ValueError, "weight of source 'c' must be at least 0 and finite, got -1"),
        ({"weights": [1, float("nan"), 1]}, ValueError, "source 'b' .*finite"),
        ({"weights": [1, "2", 1]}, TypeError, "weight of source 'b' must be a number, got '2'"),
        ({"weights": [0, 0, 0]}, ValueError, "all 0"),
        ({"weights": None}, ValueError, "how much of each source there is at record 0"),
        ({"schedule": [(0, [1, 1, 1])]}, ValueError, "either weights= or a schedule"),
        ({"schedule": [(5, [1, 1, 1]), (4, [1, 1, 1])]}, ValueError, "record 4 behind record 5"),
        ({"schedule": [5]}, ValueError, "pairs, found 5"),
        ({"schedule": [(1.5, [1, 1, 1])]}, TypeError, "record of the schedule must be an int"),
        ({"stop": "never"}, ValueError, "stop must be 'repeat', 'first' or 'last', got 'never'"),
        ({"stop": "last", "weights": [1, 1, 0]}, ValueError, "no weight"),
    ],
)
def test_what_makes_no_mixture_is_an_error(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mixture(**wrong)


def test_a_source_that_serves_only_a_part_is_an_error() -> None:
    part = MemorySource(MemorySourceConfig(shard_id=1, num_workers=2), {"x": np.arange(4)})
    for make in (lambda: MixSource([part], [1]), lambda: ConcatSource([part])):
        with pytest.raises(ValueError, match=r"source 0 of \w+ serves part 1 of 2"):
            make()
    with pytest.raises(ValueError, match="at least one source"):
        MixSource([], [])
