"""What on_error="skip" leaves out, and what it leaves as it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import MapBatch, Pipeline, RandomMapElement, RecordError, SkippedRecord
from tests.machine import without_the_machine

BAD = {3, 17, 18, 40}
LENGTH, BATCH = 50, 8


class Damaged:
    """Some records cannot be read."""

    def __init__(self, bad: set[int] = BAD) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number in self.bad:
            raise OSError(f"file {number} is damaged")
        return {"n": number, "x": np.full(3, number), "name": f"record {number}"}


class DamagedTogether(Damaged):
    """The same, read a batch at a time."""

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        return [self[number] for number in numbers]


class DamagedColumns(Damaged):
    """Read a batch at a time, as columns; where a record is damaged, those of the whole batch do not fit."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        record = super().__getitem__(number)
        del record["name"]
        return record

    def __getitems__(self, numbers: list[int]) -> dict[str, Any]:
        wide = 4 if self.bad & set(numbers) else 3
        return {"n": np.array(numbers), "x": np.repeat(np.array(numbers)[:, None], wide, axis=1)}


class DamagedRecords(DamagedColumns):
    """The same as a list of records, the first of which is missing."""

    def __getitems__(self, numbers: list[int]) -> list[Any]:  # type: ignore[override]
        return [self[number] for number in numbers if number not in self.bad]


def fails(record: dict[str, Any]) -> dict[str, Any]:
    if int(record["n"]) in BAD:
        raise ValueError("no good")
    return record


def ragged(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "x": np.zeros(4 if int(record["n"]) in BAD else 3)}


def too_large(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "big": 2**40 if int(record["n"]) in BAD else 1}


def lacking(record: dict[str, Any]) -> dict[str, Any]:
    return {"n": record["n"]} if int(record["n"]) in BAD else record


HARMLESS = Damaged(set())
CASES: dict[str, tuple[Any, list[Any], str]] = {
    "source": (Damaged(), [], "OSError: file 17 is damaged"),
    "source, batches": (DamagedTogether(), [], "OSError: file 17 is damaged"),
    "source, columns": (DamagedColumns(), [], "OSError: file 17 is damaged"),
    "source, fewer records": (DamagedRecords(), [], "OSError: file 17 is damaged"),
    "source, columns before a stage": (DamagedColumns(), [dict, MapBatch(dict)], "OSError: file 17 is damaged"),
    "stage": (HARMLESS, [fails], r"no good; while stage MapElement\(fails\) worked on record 17"),
    "random stage": (HARMLESS, [RandomMapElement(lambda record, rng: fails(record))], "no good"),
    "ragged": (HARMLESS, [ragged], "record 17, field 'x': expected shape"),
    "lacking": (HARMLESS, [lacking], "record 17, field 'x': expected an array"),
    "before a batch stage": (Damaged(), [MapBatch(lambda batch: {**batch, "m": batch["n"] + 1})], "file 17"),
}


def rows(pipeline: Pipeline) -> list[list[int]]:
    batches = []
    for batch in pipeline:
        numbers = batch["n"].tolist()
        assert batch.batch_size == len(numbers)
        assert np.asarray(batch["x"])[:, 0].tolist() == numbers
        assert [item.index for item in batch.metadata] == numbers
        if "name" in batch.metadata[0].source_info:
            assert [item.source_info["name"] for item in batch.metadata] == [f"record {number}" for number in numbers]
        batches.append(numbers)
    return batches


def grouped() -> list[list[int]]:
    groups = [range(start, min(start + BATCH, LENGTH)) for start in range(0, LENGTH, BATCH)]
    return [[number for number in group if number not in BAD] for group in groups]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_skipped_record_leaves_all_others_in_their_batch(
    case: str, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    source, stages, reason = CASES[case]
    options: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers, "rngs": np.random.default_rng(0)}
    with (
        caplog.at_level(logging.WARNING, "datarax_mp"),
        Pipeline(source=source, stages=stages, output="numpy", on_error="skip", **options) as pipeline,
    ):
        got = [batch["n"].tolist() for batch in pipeline]
        assert got == grouped()
        assert pipeline.skipped == len(BAD)
        assert len(pipeline) == len(got)
    messages = without_the_machine(caplog.messages)
    assert len(messages) == len(BAD)
    [message] = [message for message in messages if message.startswith("record 17 ")]
    assert re.match(rf"record 17 is skipped \(step 2 of epoch 0\): .*{reason}", message)


@pytest.mark.parametrize("workers", [0, 2])
def test_metadata_and_text_belong_to_the_records_that_are_left(workers: int) -> None:
    with Pipeline(source=Damaged(), batch_size=BATCH, num_workers=workers, on_error="skip") as pipeline:
        assert rows(pipeline) == grouped()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_value_that_does_not_fit_is_skipped_like_anything_else(workers: int) -> None:
    with Pipeline(
        source=HARMLESS, batch_size=BATCH, num_workers=workers, stages=[too_large], on_error="skip"
    ) as pipeline:
        assert rows(pipeline) == grouped()
        assert pipeline.skipped == len(BAD)


@pytest.mark.parametrize("workers", [0, 2])
def test_with_pad_last_a_batch_keeps_its_size_and_marks_what_is_missing(workers: int) -> None:
    with Pipeline(source=Damaged(), batch_size=10, num_workers=workers, on_error="skip", pad_last=True) as pipeline:
        batches = list(pipeline)
    assert [batch["n"].shape for batch in batches] == [(10,)] * 5
    for step, batch in enumerate(batches):
        there = [number for number in range(step * 10, step * 10 + 10) if number not in BAD]
        assert batch.valid_mask.tolist() == [True] * len(there) + [False] * (10 - len(there))
        assert batch["n"].tolist() == there + [0] * (10 - len(there))
        assert [item.index for item in batch.metadata] == there + [None] * (10 - len(there))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_without_any_record_left_is_left_out_and_its_step_counts(workers: int) -> None:
    source = Damaged(set(range(8, 24)) | set(range(48, 50)))
    with Pipeline(source=source, batch_size=BATCH, num_workers=workers, on_error="skip") as pipeline:
        iterator = iter(pipeline)
        first = next(iterator)
        assert first["n"].tolist() == list(range(8))
        assert pipeline.get_state()["step"] == 1
        assert next(iterator)["n"].tolist() == list(range(24, 32))
        assert pipeline.get_state()["step"] == 4
        assert pipeline.skipped == 16
        state = pipeline.get_state()
        rest = [batch["n"].tolist() for batch in iterator]
        assert rest == [list(range(32, 40)), list(range(40, 48))]
        assert pipeline.skipped == 18
        assert pipeline.get_state()["epoch"] == 1
    with Pipeline(source=source, batch_size=BATCH, num_workers=1, on_error="skip") as resumed:
        resumed.set_state(state)
        assert [batch["n"].tolist() for batch in resumed] == rest


def test_with_pad_last_it_is_not_left_out_so_that_hosts_stay_in_step() -> None:
    source = Damaged(set(range(10, 20)))
    with Pipeline(source=source, batch_size=10, num_workers=1, on_error="skip", pad_last=True) as pipeline:
        batches = list(pipeline)
    assert len(batches) == 5
    assert not batches[1].valid_mask.any()


@pytest.mark.parametrize("workers", [0, 2])
def test_single_elements_that_are_skipped_do_not_come(workers: int) -> None:
    with Pipeline(
        source=Damaged(), batch_size=BATCH, num_workers=workers, on_error="skip", enforce_batch=False, output="numpy"
    ) as pipeline:
        assert [int(element["n"]) for element in pipeline] == [n for n in range(LENGTH) if n not in BAD]


def test_random_stages_draw_the_same_with_and_without_skips() -> None:
    draw = RandomMapElement(lambda record, rng: {**record, "draw": rng.random()})

    def draws(source: Any, on_error: Any) -> dict[int, float]:
        with Pipeline(
            source=source,
            batch_size=BATCH,
            num_workers=2,
            stages=[draw],
            rngs=np.random.default_rng(1),
            on_error=on_error,
            output="numpy",
        ) as pipeline:
            return {
                n: d for batch in pipeline for n, d in zip(batch["n"].tolist(), batch["draw"].tolist(), strict=True)
            }

    whole, damaged = draws(HARMLESS, "raise"), draws(Damaged(), "skip")
    assert damaged == {n: d for n, d in whole.items() if n not in BAD}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_layout_comes_from_the_first_record_that_can_be_read(workers: int) -> None:
    with Pipeline(source=Damaged({0, 1, 2}), batch_size=BATCH, num_workers=workers, on_error="skip") as pipeline:
        assert next(iter(pipeline))["n"].tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("workers", [0, 1])
def test_when_nothing_can_be_read_it_is_an_error_all_the_same(workers: int) -> None:
    with (
        Pipeline(source=Damaged(set(range(50))), batch_size=8, num_workers=workers, on_error="skip") as pipeline,
        pytest.raises(OSError, match="file 49 is damaged") as caught,
    ):
        iter(pipeline)
    assert "each of the first 50 records fails" in "\n".join(caught.value.__notes__)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_stage_for_batches_raises_is_never_skipped(workers: int) -> None:
    def broken(batch: dict[str, Any]) -> dict[str, Any]:
        if 17 in batch["n"]:
            raise ZeroDivisionError("broken")
        return batch

    with (
        Pipeline(
            source=HARMLESS, batch_size=8, num_workers=workers, stages=[MapBatch(broken)], on_error="skip"
        ) as pipeline,
        pytest.raises(ZeroDivisionError, match="broken"),
    ):
        list(pipeline)


def test_a_flood_of_skips_is_counted_and_not_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "datarax_mp"),
        Pipeline(source=Damaged(set(range(8, 40))), batch_size=8, num_workers=1, on_error="skip") as pipeline,
    ):
        assert sum(batch.batch_size for batch in pipeline) == 18
        assert pipeline.skipped == 32
    messages = without_the_machine(caplog.messages)
    assert len(messages) == 11
    assert "Pipeline.skips lists them" in messages[-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_left_out_is_listed_and_told(workers: int) -> None:
    told: list[SkippedRecord] = []
    with Pipeline(
        source=Damaged(), batch_size=8, num_workers=workers, on_error="skip", on_skip=told.append
    ) as pipeline:
        for _ in range(2):
            list(pipeline)
        assert pipeline.skips == told
        assert [(skip.epoch, skip.step, skip.record) for skip in told] == [
            (epoch, record // 8, record) for epoch in range(2) for record in sorted(BAD)
        ]
        assert "OSError: file 17 is damaged" in next(skip.reason for skip in told if skip.record == 17)
        assert pipeline.skipped == len(told)


def test_the_list_of_what_was_left_out_is_bounded() -> None:
    def refuse(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"]:
            raise ValueError
        return record

    source = {"n": np.arange(3001)}
    with Pipeline(source=source, batch_size=100, stages=[refuse], on_error="skip") as pipeline:
        list(pipeline)
        assert (pipeline.skipped, len(pipeline.skips), pipeline.skips[-1].record) == (3000, 1000, 3000)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_raised_by_whom_it_is_told_comes_out_of_next(workers: int) -> None:
    def enough(skip: SkippedRecord) -> None:
        raise RuntimeError(f"record {skip.record} was the last straw")

    with Pipeline(source=Damaged(), batch_size=8, num_workers=workers, on_error="skip", on_skip=enough) as pipeline:
        iterator = iter(pipeline)
        with pytest.raises(RuntimeError, match="the last straw"):
            list(iterator)
        assert list(iterator) == []


def test_who_is_to_be_told_must_be_callable_and_have_something_to_hear() -> None:
    with pytest.raises(TypeError, match="on_skip must be callable"):
        Pipeline(source=[1], batch_size=1, on_error="skip", on_skip=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="set on_error='skip'"):
        Pipeline(source=[1], batch_size=1, on_skip=print)


def test_sharding_needs_padding_when_records_may_be_missing() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    with pytest.raises(ValueError, match="pad_last"):
        Pipeline(source=Damaged(), batch_size=8, sharding=sharding, on_error="skip")
    with Pipeline(
        source=Damaged(), batch_size=8, sharding=sharding, on_error="skip", pad_last=True, num_workers=1
    ) as pipeline:
        assert {batch["n"].shape for batch in pipeline} == {(8,)}


@pytest.mark.parametrize("workers", [0, 2])
def test_after_an_exception_the_iterator_has_ended_and_names_the_failing_batch(workers: int, tmp_path: Any) -> None:
    mended = tmp_path / "mended"

    def stage(record: dict[str, Any]) -> dict[str, Any]:
        if int(record["n"]) == 20 and not mended.exists():
            raise KeyError("broken")
        return record

    with Pipeline(source=HARMLESS, batch_size=8, num_workers=workers, stages=[stage], output="numpy") as pipeline:
        iterator = iter(pipeline)
        received = []
        with pytest.raises(KeyError):
            for batch in iterator:
                received += batch["n"].tolist()
        assert received == list(range(16))
        assert list(iterator) == []
        state = pipeline.get_state()
        assert (state["epoch"], state["step"]) == (0, 2)
        mended.touch()
        pipeline.set_state(state)
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(16, 50))
        assert [n for batch in pipeline for n in batch["n"].tolist()] == list(range(50))


def test_bad_options_are_errors_at_once() -> None:
    make: Callable[..., Pipeline] = lambda **more: Pipeline(source=[1, 2], batch_size=1, **more)  # noqa: E731
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        make(on_error="ignore")
    with pytest.raises(TypeError, match="timeout must be seconds"):
        make(timeout="5", num_workers=1)
    for timeout in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="more than 0"):
            make(timeout=timeout, num_workers=1)
    with pytest.raises(ValueError, match="timeout is about worker processes"):
        make(timeout=5.0)
    with pytest.raises(ValueError, match="restart_workers=False is about worker processes"):
        make(restart_workers=False)
    with pytest.raises(TypeError, match="restart_workers must be a bool"):
        make(restart_workers=3, num_workers=1)


def test_a_shard_without_records_says_so() -> None:
    from datarax_mp import MemorySource, MemorySourceConfig

    source = MemorySource(MemorySourceConfig(shard_id=3, num_workers=4), [1, 2])
    with pytest.raises(RecordError, match="no record"):
        list(Pipeline(source=source, batch_size=1, num_workers=1))
