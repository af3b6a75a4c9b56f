"""FlatMap: several records of one, in an order that is arithmetic as any other."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import (
    ClassBalancedSampler,
    ConcatSource,
    Filter,
    FlatMap,
    LengthGroups,
    MapBatch,
    MapElement,
    MemorySource,
    MemorySourceConfig,
    MixSource,
    Pad,
    Pipeline,
    RandomMapElement,
    RecordError,
    ShardOptions,
    ShuffleWindow,
    TokenBudget,
    WindowSource,
    WorkerError,
    worker_info,
)
from datarax_mp.order.expansion import Expansion, ItemNumber, record_of
from datarax_mp.testing import assert_same_stream, check_resume

LENGTH = 41
WORKERS = [0, 1, 3]


def records() -> list[dict[str, Any]]:
    return [{"n": n, "parts": np.arange(n % 5) + 10 * n, "text": f"record {n}"} for n in range(LENGTH)]


def parts(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"n": record["n"], "part": part, "text": record["text"]} for part in record["parts"]]


FLAT = FlatMap(parts, most=4)
EXPECTED = [(n, 10 * n + j) for n in range(LENGTH) for j in range(n % 5)]


def even(record: dict[str, Any]) -> bool:
    return bool(record["n"] % 2 == 0)


def odd_part(record: dict[str, Any]) -> bool:
    return bool(record["part"] % 2)


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random()}


def make(*stages: Any, source: Any = None, **more: Any) -> Pipeline[Any]:
    options = {"batch_size": 7, "output": "numpy", "seed": 5, **more}
    return Pipeline(source=records() if source is None else source, stages=stages, **options)


def pairs(batches: Any) -> list[tuple[int, int]]:
    return [pair for batch in batches for pair in zip(batch["n"].tolist(), batch["part"].tolist(), strict=True)]


@pytest.mark.parametrize("workers", WORKERS)
def test_every_item_comes_once_in_full_batches_with_its_records_number(workers: int) -> None:
    with make(FLAT, num_workers=workers) as pipeline:
        batches = list(pipeline)
        assert len(pipeline) == len(batches) == -(-len(EXPECTED) // 7)
        assert pipeline.records(0, 1).tolist() == [n for n, _ in EXPECTED[7:14]]
        assert pipeline.find(9, 0) == sorted({at // 7 for at, (n, _) in enumerate(EXPECTED) if n == 9})
    assert pairs(batches) == EXPECTED
    for batch in batches:
        assert [item.index for item in batch.metadata] == batch["n"].tolist()
        assert batch.info["text"] == [f"record {n}" for n in batch["n"]]


@pytest.mark.parametrize("shuffle", [True, ShuffleWindow(records=20)])
def test_items_are_shuffled_one_by_one_anew_in_every_epoch(shuffle: Any) -> None:
    with make(FLAT, shuffle=shuffle) as pipeline:
        epochs = [pairs(pipeline), pairs(pipeline)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == EXPECTED
    assert len({tuple(epoch) for epoch in (*epochs, EXPECTED)}) == 3


def uneven(record: dict[str, Any]) -> dict[str, Any]:
    return {"n": record["n"], "part": np.arange(record["part"] % 4)}


KINDS: dict[str, dict[str, Any]] = {
    "in order": {"stages": [FLAT]},
    "shuffled": {"stages": [FLAT], "shuffle": True},
    "in windows": {"stages": [FLAT], "shuffle": ShuffleWindow(records=9)},
    "random": {"stages": [FLAT, RandomMapElement(noisy)], "shuffle": True},
    "filters": {"stages": [Filter(even), FLAT, MapElement(dict), Filter(odd_part)], "shuffle": True},
    "twice": {"stages": [FLAT, FlatMap(lambda record: [record] * 2, most=2)], "shuffle": True},
    "padded": {"stages": [FLAT, uneven, Pad("part", length=4)], "shuffle": True},
    "of batches": {"stages": [FLAT, MapBatch(lambda batch: {**batch, "sum": batch["part"] + batch["n"]})]},
    "drop_last": {"stages": [FLAT], "drop_last": True, "shuffle": True},
    "pad_last": {"stages": [FLAT], "pad_last": True, "shuffle": True},
    "elements": {"stages": [FLAT], "enforce_batch": False, "shuffle": True},
    "jax": {"stages": [FLAT], "output": "jax", "shuffle": True},
    "a memory source": {"source": MemorySource(MemorySourceConfig(), records()), "stages": [FLAT], "shuffle": True},
    "several sources": {"source": ConcatSource([records(), records()]), "stages": [FLAT], "shuffle": True},
    "a part": {"source": MemorySource(MemorySourceConfig(shard_id=1, num_workers=2), records()), "stages": [FLAT]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_is_the_same_for_0_1_and_3_workers_and_goes_on_anywhere(kind: str) -> None:
    for workers in (1, 3):
        options = {"batch_size": 7, "output": "numpy", "seed": 5, **KINDS[kind]}
        options.setdefault("source", records())
        with Pipeline(**options) as one, Pipeline(**options, num_workers=workers) as other:
            assert_same_stream(one, other, epochs=2)
    with Pipeline(**options) as pipeline:
        check_resume(pipeline, steps=10)
        wanted = list(pipeline)
        assert len(wanted) == len(pipeline)
        if kind != "elements":
            assert pipeline.at(pipeline.epoch - 1, 2) == wanted[2]


def test_a_random_stage_behind_it_draws_for_every_item_and_whatever_the_batches_are() -> None:
    def noises(**more: Any) -> dict[tuple[int, int], float]:
        with make(FLAT, RandomMapElement(noisy), **more) as pipeline:
            batches = list(pipeline)
        return dict(zip(pairs(batches), [noise for batch in batches for noise in batch["noise"].tolist()], strict=True))

    one = noises()
    assert len(set(one.values())) == len(one) == len(EXPECTED)
    assert noises(batch_size=3, num_workers=2) == one == noises(shuffle=True)


def test_shards_share_the_items_and_an_elastic_resume_goes_on() -> None:
    found: list[tuple[int, int]] = []
    for index in range(3):
        with make(FLAT, shard=ShardOptions(index, 3), pad_last=True, shuffle=True) as pipeline:
            found += [pair for batch in pipeline for pair in pairs([batch])[: int(batch.valid_mask.sum())]]
    assert sorted(found) == EXPECTED
    with make(FLAT, shuffle=True) as before:
        first = pairs([next(iter(before))])
        state = before.get_state()
    with make(FLAT, shuffle=True, batch_size=5) as after:
        after.set_state(state, elastic=True)
        assert sorted(first + pairs(after)) == EXPECTED


def test_filters_before_and_behind_leave_out_records_and_items() -> None:
    expected = [(n, part) for n, part in EXPECTED if n % 2 == 0 and part % 2]
    with make(Filter(even), FLAT, Filter(odd_part)) as pipeline:
        assert pairs(pipeline) == expected


class Logged:
    """A source that notes in a file which records are read."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        with self.log.open("a") as file:
            file.write(f"{number}\n")
        if number == 13:
            raise OSError("file 13 is damaged")
        return records()[number]


def test_a_record_is_read_once_for_all_of_its_items_that_a_batch_has(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with make(FLAT, source=Logged(log), batch_size=len(EXPECTED), shuffle=True, on_error="skip") as pipeline:
        len(pipeline)
        log.write_text("")
        list(pipeline)
    reads = Counter(log.read_text().split())
    assert max(reads.values()) <= 2 + 1  # the first one is looked at before the first batch
    assert sum(reads.values()) <= LENGTH + 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_record_that_cannot_be_read_is_one_item_that_is_skipped(tmp_path: Path, workers: int) -> None:
    with make(FLAT, source=Logged(tmp_path / "log"), on_error="skip", num_workers=workers) as pipeline:
        assert pairs(pipeline) == [(n, part) for n, part in EXPECTED if n != 13]
        assert [(skip.record, skip.step) for skip in pipeline.skips] == [(13, 24 // 7)]
        assert "file 13 is damaged" in pipeline.skips[0].reason


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_raised_behind_it_names_record_and_item(workers: int) -> None:
    def breaks(record: dict[str, Any]) -> dict[str, Any]:
        if record["part"] == 92:
            raise ValueError("no good")
        return record

    with (
        make(FLAT, breaks, num_workers=workers) as pipeline,
        pytest.raises(ValueError, match="no good") as caught,
    ):
        list(pipeline)
    assert any("stage MapElement(breaks) worked on record 9 (item 2 of it)" in note for note in caught.value.__notes__)
    with make(FLAT, breaks, num_workers=workers, on_error="skip") as pipeline:
        assert pairs(pipeline) == [pair for pair in EXPECTED if pair != (9, 92)]
        assert [skip.record for skip in pipeline.skips] == [9]


def test_what_is_raised_by_it_names_stage_and_record() -> None:
    def breaks(record: dict[str, Any]) -> list[dict[str, Any]]:
        raise ValueError("no good")

    with make(FlatMap(breaks, most=1)) as pipeline, pytest.raises(ValueError, match="no good") as caught:
        list(pipeline)
    assert any("FlatMap(breaks)) worked on record 0" in note for note in caught.value.__notes__)


def test_a_shape_that_differs_names_record_and_item() -> None:
    uneven = FlatMap(lambda record: [{"x": np.zeros(2 + (record["n"] == 8 and j))} for j in range(3)], most=3)
    with make(uneven) as pipeline, pytest.raises(RecordError, match=r"record 8 \(item 1 of it\), field 'x': expected"):
        list(pipeline)


def test_what_is_raised_for_a_batch_and_a_value_that_does_not_fit_name_record_and_item() -> None:
    def breaks(batch: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no good")

    with make(FLAT, MapBatch(breaks)) as pipeline, pytest.raises(ValueError, match="no good") as caught:
        list(pipeline)
    assert any("worked on the batch of records [1 (item 0 of it)" in note for note in caught.value.__notes__)
    large = FlatMap(lambda record: [{"x": 1}, {"x": 1 << 40 if record["n"] == 4 else 2}], most=2)
    with (
        make(large, output="jax") as pipeline,
        pytest.raises(RecordError, match=r"record 4 \(item 1 of it\), field 'x'"),
    ):
        list(pipeline)
    with make(large, output="jax", on_error="skip") as pipeline:
        assert sum(batch.batch_size for batch in pipeline) == 2 * LENGTH - 1
        assert [skip.record for skip in pipeline.skips] == [4]


def test_a_worker_that_dies_over_an_item_is_told_with_its_record() -> None:
    def dies(record: dict[str, Any]) -> dict[str, Any]:
        if record["part"] == 92 and worker_info() is not None:
            os._exit(3)
        return record

    with make(FLAT, dies, num_workers=1) as pipeline, pytest.raises(WorkerError, match=r"record 9 \(item 2 of it\)"):
        list(pipeline)


@pytest.mark.parametrize(
    ("fn", "told"),
    [
        (lambda record: {"n": 1}, "must return a list of records, it returned a dict"),
        (lambda record: "text", "must return a list of records, it returned a str"),
        (lambda record: None, "must return a list of records, it returned a NoneType"),
        (lambda record: [record] * 3, r"may give 2 records \(most=\), and has given 3"),
    ],
)
def test_what_is_no_list_of_records_or_too_many_is_an_error(fn: Any, told: str) -> None:
    with make(FlatMap(fn, most=2)) as pipeline, pytest.raises(RecordError, match=told):
        list(pipeline)


def test_frames_may_come_as_one_array_or_from_a_generator() -> None:
    frames = np.arange(24).reshape(4, 3, 2)
    for fn in (lambda record: record, lambda record: (frame for frame in record)):
        with make(FlatMap(fn, most=3), source=frames, batch_size=12) as pipeline:
            (batch,) = list(pipeline)
        assert batch["value"].tolist() == frames.reshape(12, 2).tolist()


def test_items_of_one_record_cannot_change_each_other() -> None:
    def overlapping(record: dict[str, Any]) -> list[dict[str, Any]]:
        whole = np.zeros(4)
        return [{"x": whole[:2]}, {"x": whole[1:3]}]

    def adds(record: dict[str, Any]) -> dict[str, Any]:
        record["x"] += 1
        return record

    with make(FlatMap(overlapping, most=2), adds) as pipeline, pytest.raises(ValueError, match="read-only"):
        list(pipeline)


def test_a_function_that_gives_fewer_than_when_they_were_counted_is_an_error() -> None:
    calls = Counter[int]()

    def shrinks(record: dict[str, Any]) -> list[dict[str, Any]]:
        calls[record["n"]] += 1
        return [{"n": record["n"]}] * (2 if calls[record["n"]] == 1 else 1)

    with make(FlatMap(shrinks, most=2)) as pipeline, pytest.raises(RecordError, match="must give the same ones every"):
        list(pipeline)


def test_where_nothing_comes_out_it_is_an_error() -> None:
    with make(FlatMap(lambda record: [], most=2)) as pipeline, pytest.raises(ValueError, match="leaves none of the 41"):
        list(pipeline)


def test_it_comes_before_random_stages_and_most_is_a_number() -> None:
    with pytest.raises(ValueError, match="comes after the random stage"):
        make(RandomMapElement(noisy), FLAT)
    with pytest.raises(ValueError, match="most"):
        make(FlatMap(parts, most=0))
    with pytest.raises(TypeError, match="FlatMap needs a callable"):
        make(FlatMap(None, most=1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": ClassBalancedSampler(np.arange(LENGTH) % 2)},
        {"batch_by": LengthGroups(np.arange(LENGTH))},
        {"batch_by": TokenBudget(50, np.arange(LENGTH) + 1)},
        {"source": MixSource({"a": records(), "b": records()}, {"a": 1, "b": 1})},
        {"source": WindowSource(np.arange(63), 4, field="x", random_offset=True)},
    ],
)
def test_what_is_about_records_cannot_be_combined_with_items(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is about records, and with FlatMap an epoch has items"):
        make(FLAT, **options)


def test_a_source_that_has_changed_is_looked_at_anew_before_the_next_epoch() -> None:
    data = records()
    with make(FLAT, source=data) as pipeline:
        assert pairs(pipeline) == EXPECTED
        data[0]["parts"] = np.array([7, 8])
        assert pairs(pipeline) == [(0, 7), (0, 8), *EXPECTED]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30).filter(any))
def test_items_are_numbered_record_after_record(counts: list[int]) -> None:
    expansion = Expansion.of(np.array(counts))
    expected = [(record, place) for record, count in enumerate(counts) for place in range(count)]
    named = expansion.named(np.arange(expansion.items))
    assert [(one.record, one.place) for one in named if isinstance(one, ItemNumber)] == expected
    assert named == list(range(len(expected)))
    assert expansion.records(np.arange(expansion.items)).tolist() == list(map(record_of, named))
