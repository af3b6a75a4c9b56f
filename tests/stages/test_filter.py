"""Filters: what is left, in which order, and when the source is read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import (
    Filter,
    MemorySource,
    MemorySourceConfig,
    Pipeline,
    RandomMapBatch,
    RandomMapElement,
)

LENGTH = 103


class Counting:
    """A source that notes in a file which records were read, by whichever process."""

    def __init__(self, log: Any) -> None:
        self.log = log

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        with open(self.log, "a") as file:
            file.write(f"{number}\n")
        if number == 77:
            raise OSError("file 77 is damaged")
        return {"n": number, "text": f"record {number}"}


def records() -> list[dict[str, Any]]:
    return [{"n": number, "text": f"record {number}"} for number in range(LENGTH)]


def odd(record: dict[str, Any]) -> bool:
    return bool(record["n"] % 2)


def not_third(record: dict[str, Any]) -> bool:
    return bool(record["n"] % 3)


def plus_one(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "n": record["n"] + 1}


def numbers(batches: Any) -> list[list[int]]:
    return [batch["n"].tolist() for batch in batches]


def make(*stages: Any, source: Any = None, **more: Any) -> Pipeline:
    options = {"batch_size": 8, "output": "numpy", "rngs": np.random.default_rng(5), **more}
    return Pipeline(source=records() if source is None else source, stages=stages, **options)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_records_that_fail_are_left_out_and_batches_stay_full(workers: int) -> None:
    with make(Filter(odd), num_workers=workers) as pipeline:
        batches = list(pipeline)
        assert len(pipeline) == len(batches) == 7
    flat = [n for batch in numbers(batches) for n in batch]
    assert flat == list(range(1, LENGTH, 2))
    assert [batch.batch_size for batch in batches] == [8] * 6 + [3]
    for batch in batches:
        assert [item.index for item in batch.metadata] == batch["n"].tolist()
        assert [item.source_info["text"] for item in batch.metadata] == [f"record {n}" for n in batch["n"]]


def test_the_stream_is_the_same_for_every_number_of_workers_and_shuffled_anew_in_every_epoch() -> None:
    streams = []
    for workers in (0, 1, 3):
        with make(plus_one, Filter(odd), Filter(not_third), num_workers=workers, shuffle=True) as pipeline:
            streams.append([numbers(pipeline), numbers(pipeline)])
    assert streams[0] == streams[1] == streams[2]
    first, second = ([n for batch in epoch for n in batch] for epoch in streams[0])
    assert sorted(first) == sorted(second) == [n for n in range(1, LENGTH + 1) if n % 2 and n % 3]
    assert first != second


def test_random_stages_draw_for_a_record_what_they_draw_without_the_filter() -> None:
    draw = RandomMapElement(lambda record, rng: {"n": record["n"], "draw": rng.integers(1 << 30)})

    def draws(*stages: Any, **more: Any) -> dict[int, int]:
        with make(*stages, draw, num_workers=2, rngs=np.random.default_rng(1), **more) as pipeline:
            return {int(n): int(d) for batch in pipeline for n, d in zip(batch["n"], batch["draw"], strict=True)}

    filtered, whole = draws(Filter(odd)), draws()
    assert list(filtered) == list(range(1, LENGTH, 2))
    assert filtered == {n: whole[n] for n in filtered}


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_at_every_step_is_exact(workers: int) -> None:
    with make(Filter(not_third), num_workers=workers, shuffle=True) as pipeline:
        iterator = iter(pipeline)
        states = [pipeline.get_state()]
        received = []
        for batch in iterator:
            received.append(batch["n"].tolist())
            states.append(pipeline.get_state())
        for step, state in enumerate(states[:-1]):
            with make(Filter(not_third), num_workers=1, shuffle=True) as resumed:
                resumed.set_state(state)
                assert numbers(resumed) == received[step:]


def test_a_state_of_another_filter_is_an_error() -> None:
    with (
        make(Filter(odd)) as one,
        make(Filter(not_third)) as other,
        pytest.raises(ValueError, match=r"length: the state has 51, this pipeline has 68"),
    ):
        other.set_state(one.get_state())


def test_shards_divide_what_is_left() -> None:
    seen: list[int] = []
    for shard in range(4):
        config = MemorySourceConfig(shard_id=shard, num_workers=4)
        with make(Filter(odd), source=MemorySource(config, records()), batch_size=4, num_workers=1) as pipeline:
            mine = [n for batch in numbers(pipeline) for n in batch]
        assert len(mine) in (12, 13)
        seen += mine
    assert sorted(seen) == list(range(1, LENGTH, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_source_is_read_once_to_decide_and_never_again_for_the_same_filter(workers: int, tmp_path: Any) -> None:
    source = Counting(tmp_path / "log")
    options: dict[str, Any] = {"source": source, "num_workers": workers, "on_error": "skip"}
    keep = Filter(odd)
    with make(keep, **options) as pipeline:
        assert not source.log.exists()  # nothing is read before it is needed
        assert len(pipeline) == 7
        decided = source.log.read_text().split()
        assert set(decided) == set(map(str, range(LENGTH)))
        assert sum(map(len, numbers(pipeline))) == 51 - 1
        assert pipeline.skipped == 1  # 77, which had passed because nobody could say
        before = len(source.log.read_text().split())
    with make(keep, **options) as another:
        assert len(another) == 7
    assert len(source.log.read_text().split()) == before


def draw(record: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    return {"n": record["n"], "drawn": generator.integers(1 << 30)}


def draw_all(batch: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    return {**batch, "together": generator.integers(1 << 30, size=len(batch["n"]))}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_record_of_which_a_filter_raises_something_is_skipped_and_nothing_is_drawn_otherwise(workers: int) -> None:
    def keep(record: dict[str, Any]) -> bool:
        if record["n"] in (40, 41):
            raise ArithmeticError("no verdict")
        return bool(record["n"] % 2)

    stages = [Filter(keep), RandomMapElement(draw), RandomMapBatch(draw_all)]
    options: dict[str, Any] = {"batch_size": 8, "num_workers": workers, "output": "numpy", "seed": 0}
    with Pipeline(source=records(), stages=stages, on_error="skip", **options) as pipeline:
        found = list(pipeline)
        skips = pipeline.skips
    assert [n for batch in found for n in batch["n"].tolist()] == [n for n in range(1, LENGTH, 2) if n != 41]
    assert [(skip.record, "no verdict" in skip.reason) for skip in skips] == [(40, True), (41, True)]
    with Pipeline(source=records(), stages=[Filter(odd), *stages[1:]], **options) as pipeline:
        others = {n: drawn for batch in pipeline for n, drawn in zip(batch["n"], batch["drawn"], strict=True)}
    drawn = {n: drawn for batch in found for n, drawn in zip(batch["n"], batch["drawn"], strict=True)}
    assert others.items() >= drawn.items()
    with Pipeline(source=records(), stages=[Filter(odd), *stages[1:]], on_error="skip", **options) as pipeline:
        skipping = [batch["together"].tolist() for batch in pipeline]
    with Pipeline(source=records(), stages=[Filter(odd), *stages[1:]], **options) as pipeline:
        assert [batch["together"].tolist() for batch in pipeline] == skipping


def test_a_verdict_that_comes_late_counts(tmp_path: Path) -> None:
    class Late:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, number: int) -> dict[str, int]:
            marks = tmp_path / str(number)
            if number in (4, 5) and not marks.exists():
                marks.touch()
                raise OSError("not yet")
            return {"n": number}

    with make(Filter(odd), source=Late(), num_workers=0, on_error="skip") as pipeline:
        assert [n for batch in numbers(pipeline) for n in batch] == [1, 3, 5, 7, 9, 11]
        assert [(skip.record, "Filter(odd) leaves it out" in skip.reason) for skip in pipeline.skips] == [(4, True)]


def test_an_exception_in_a_filter_names_it_and_the_record() -> None:
    def broken(record: dict[str, Any]) -> bool:
        return 1 // (record["n"] - 40) > 0

    for workers in (0, 2):
        with make(Filter(broken), num_workers=workers) as pipeline, pytest.raises(ZeroDivisionError) as caught:
            iter(pipeline)
        assert "Filter(broken)" in "\n".join(caught.value.__notes__)
        assert "record 40" in "\n".join(caught.value.__notes__)


def test_a_filter_that_leaves_nothing_is_an_error() -> None:
    def nothing(record: Any) -> bool:
        return False

    with (
        make(Filter(nothing)) as pipeline,
        pytest.raises(ValueError, match=r"Filter\(nothing\) leaves none of the 103"),
    ):
        iter(pipeline)


def test_a_filter_after_a_random_stage_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"stages\[1\], Filter\(odd\), comes after the random stage"):
        make(RandomMapElement(lambda record, rng: record), Filter(odd))


def test_single_elements_are_filtered_too() -> None:
    with make(Filter(odd), enforce_batch=False, num_workers=2) as pipeline:
        assert [int(element["n"]) for element in pipeline] == list(range(1, LENGTH, 2))


class Above:
    """A predicate with a threshold."""

    def __init__(self, least: int) -> None:
        self.least = least

    def __call__(self, record: dict[str, Any]) -> bool:
        return int(record["n"]) >= self.least


class Numbers:
    """A source of the user's own."""

    def __init__(self, values: list[int]) -> None:
        self.values = values
        self.lock = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"n": self.values[number]}


def flat(pipeline: Pipeline) -> list[int]:
    return [int(n) for batch in pipeline for n in batch["n"]]


@pytest.mark.parametrize("workers", [0, 2])
def test_survivors_are_found_anew_when_the_predicate_or_the_source_has_changed(workers: int) -> None:
    above, source = Above(3), Numbers(list(range(8)))
    with Pipeline(source=source, batch_size=2, stages=[Filter(above)], num_workers=workers, output="numpy") as pipeline:
        assert flat(pipeline) == [3, 4, 5, 6, 7]
        above.least = 6
        assert flat(pipeline) == [6, 7]
        assert len(pipeline) == 1
        source.values[0] = 100
        assert flat(pipeline) == [100, 6, 7]
        assert pipeline.get_state()["epoch"] == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_survivors_are_those_of_the_content_not_of_the_object(workers: int) -> None:
    source = Numbers(list(range(8)))
    for least in (3, 6):
        with Pipeline(
            source=source,
            batch_size=2,
            stages=[Filter(lambda r, least=least: r["n"] >= least)],
            num_workers=workers,
            output="numpy",
        ) as pipeline:
            assert flat(pipeline) == list(range(least, 8))


def test_survivors_are_not_looked_for_again_while_nothing_has_changed() -> None:
    source = Numbers(list(range(8)))
    ASKED.clear()
    for _ in range(2):
        with Pipeline(source=source, batch_size=2, stages=[Filter(Asking())], output="numpy") as pipeline:
            for _ in range(3):
                assert flat(pipeline) == [3, 4, 5, 6, 7]
    assert len(ASKED) == 9  # all records, and the first one more


ASKED: list[int] = []


class Asking:
    """A predicate that is nothing but code."""

    def __call__(self, record: dict[str, Any]) -> bool:
        asked().append(record["n"])
        return bool(record["n"] >= 3)


def asked() -> list[int]:
    return ASKED


def test_what_does_not_pickle_counts_by_its_identity() -> None:
    source = Numbers(list(range(8)))
    source.lock = threading.Lock()  # type: ignore[assignment]
    above = Above(3)
    with Pipeline(source=source, batch_size=2, stages=[Filter(above)], output="numpy") as pipeline:
        assert flat(pipeline) == [3, 4, 5, 6, 7]
        above.least = 7
        assert flat(pipeline) == [7]


def test_a_state_inside_an_epoch_whose_records_have_changed_is_an_error() -> None:
    above = Above(3)
    with Pipeline(source=Numbers(list(range(8))), batch_size=2, stages=[Filter(above)], output="numpy") as pipeline:
        next(iterator := iter(pipeline))
        pipeline.set_state(iterator.get_state())
        above.least = 5
        with pytest.raises(ValueError, match="was changed in the middle of an epoch"):
            iter(pipeline)
        above.least = 3
        assert flat(pipeline) == [5, 6, 7]
