"""Fields that are no arrays are part of the batch."""

from __future__ import annotations

import pickle
from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import Batch, BatchOps, DeviceStage, MapBatch, Pipeline, RecordError

TEXTS = ["one", "two and more", "", "four", "five"]
RECORDS = [{"n": number, "text": text, "deep": {"raw": text.encode()}} for number, text in enumerate(TEXTS)]


def batches(workers: int, **options: Any) -> list[Batch]:
    with Pipeline(**{"source": RECORDS, "batch_size": 2, "num_workers": workers, **options}) as pipeline:
        return list(pipeline)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("output", ["jax", "numpy"])
def test_info_has_one_value_per_row(workers: int, output: str) -> None:
    found = batches(workers, output=output)
    assert [batch.info["text"] for batch in found] == [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]
    assert found[0].info["deep"]["raw"] == [b"one", b"two and more"]
    assert [item.source_info["text"] for item in found[0].metadata] == TEXTS[:2]
    assert "text" not in found[0]
    assert batches(workers, source={"n": [1, 2]}, output=output)[0].info == {}


@pytest.mark.parametrize("workers", [0, 2])
def test_padding_has_no_value_and_what_is_skipped_is_not_there(workers: int) -> None:
    assert batches(workers, pad_last=True)[-1].info["text"] == ["five", None]

    def refuse(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] in (0, 3):
            raise ValueError
        return record

    found = batches(workers, stages=[refuse], on_error="skip")
    assert [batch.info["text"] for batch in found] == [[TEXTS[1]], [TEXTS[2]], [TEXTS[4]]]


def test_a_field_that_is_no_array_is_named_where_it_is_asked_for() -> None:
    batch = batches(0)[0]
    with pytest.raises(KeyError, match=r"'text' is no array: its values are in batch\.info\['text'\]"):
        batch["text"]
    with pytest.raises(
        KeyError, match=r"no field 'label'; this batch has \['n'\] and, in batch\.info, \['text', 'deep'\]"
    ):
        batch["label"]


def test_info_goes_with_the_rows() -> None:
    first, second, _ = batches(0)
    assert first.slice(1, 2).info == {"text": [TEXTS[1]], "deep": {"raw": [TEXTS[1].encode()]}}
    assert first.split_for_devices(2)[1].info["text"] == [TEXTS[1]]
    assert BatchOps.select_batch_rows(first, [False, True]).info["text"] == [TEXTS[1]]
    assert BatchOps.concatenate_batch_sequence([first, second]).info["text"] == TEXTS[:4]
    assert pickle.loads(pickle.dumps(first)).info["text"] == TEXTS[:2]
    assert jax.jit(lambda batch: batch)(first).info == {}
    with pytest.raises(ValueError, match="same fields"):
        BatchOps.concatenate_batch_sequence([first, Batch.from_parts({"n": np.zeros(1, np.int32)})])


@pytest.mark.parametrize("workers", [0, 2])
def test_single_elements_keep_their_text(workers: int) -> None:
    found = batches(workers, enforce_batch=False)
    assert [element["text"] for element in found] == TEXTS
    assert [element["deep"]["raw"] for element in found] == [text.encode() for text in TEXTS]
    staged = batches(workers, enforce_batch=False, stages=[DeviceStage(lambda batch: {"n": batch["n"] + 1})])
    assert [(int(element["n"]), element["text"]) for element in staged] == [(n + 1, t) for n, t in enumerate(TEXTS)]


# --- stages for batches


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stage_for_batches_gets_text_as_lists_and_may_make_arrays_of_it(workers: int) -> None:
    def tokenise(batch: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(batch["text"], list)
        tokens = np.zeros((len(batch["text"]), 12), np.int32)
        for row, text in enumerate(batch["text"]):
            tokens[row, : len(text)] = list(text.encode())
        return {"tokens": tokens, "raw": batch["deep"]["raw"], "upper": [text.upper() for text in batch["text"]]}

    def lengths(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "length": [len(text) for text in batch["upper"]]}

    found = batches(workers, stages=[MapBatch(tokenise), MapBatch(lengths)])
    assert [batch["length"].tolist() for batch in found] == [[3, 12], [0, 4], [4]]
    assert bytes(np.asarray(found[0]["tokens"][0, :3]).tolist()) == b"one"
    assert found[0].info == {"raw": [b"one", b"two and more"], "upper": ["ONE", "TWO AND MORE"]}
    assert "text" not in found[0].info  # it was not returned


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", [TEXTS, {"value": TEXTS}, [{"value": text} for text in TEXTS]])
def test_records_may_hold_nothing_but_text_that_a_stage_for_batches_makes_arrays_of(source: Any, workers: int) -> None:
    stages = [MapBatch(lambda batch: {"length": np.array([len(text) for text in batch["value"]])})]
    found = batches(workers, source=source, stages=stages, shuffle=True, seed=3)
    assert sorted(n for batch in found for n in batch["length"].tolist()) == sorted(map(len, TEXTS))
    with pytest.raises(RecordError, match="at least one array or number, found only value"):
        batches(workers, source=source, stages=[MapBatch(dict)])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_list_that_a_stage_leaves_alone_stays_what_it_was(workers: int) -> None:
    records = [{"n": number, "tags": tags} for number, tags in enumerate([["a"], [], [], ["b", "c"]])]
    stages = [MapBatch(dict), MapBatch(lambda batch: {**batch, "n": batch["n"] + 1})]
    found = batches(workers, source=records, stages=stages)
    assert [batch.info["tags"] for batch in found] == [[["a"], []], [[], ["b", "c"]]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stage_for_batches_with_text_and_skipped_records(workers: int) -> None:
    def refuse(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 1:
            raise ValueError
        return record

    found = batches(workers, stages=[refuse, MapBatch(lambda batch: batch)], on_error="skip")
    assert [batch.info["text"] for batch in found] == [[TEXTS[0]], TEXTS[2:4], [TEXTS[4]]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda batch: batch["text"][:1], r"field 'text': expected an array of 2 rows, found a list of 1"),
        (lambda batch: "one", r"field 'text': expected an array of . rows, found str"),
        (
            lambda batch: np.zeros((1, len(batch["text"]))),
            r"field 'text': expected an array of 2 rows, found shape \(1, 2\)",
        ),
    ],
)
def test_lists_of_another_length_are_an_error(value: Any, message: str, workers: int) -> None:
    with pytest.raises(RecordError, match=message):
        batches(workers, stages=[MapBatch(lambda batch: {**batch, "text": value(batch)})], source=RECORDS[:4])


def test_metadata_and_info_of_a_source_that_reads_columns_agree() -> None:
    class Source:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, number: int) -> Any:
            return RECORDS[number]

        def __getitems__(self, numbers: list[int]) -> Any:
            return {
                "n": np.array(numbers),
                "text": [TEXTS[n] for n in numbers],
                "deep": {"raw": [TEXTS[n].encode() for n in numbers]},
            }

    for workers in (0, 2):
        assert [batch.info for batch in batches(workers, source=Source())] == [batch.info for batch in batches(0)]
