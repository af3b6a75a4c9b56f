"""Packing documents into rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import MemorySource, MemorySourceConfig, MixSource, PackedSource, Pipeline, RecordError, scan

# Token t of document d is 1000 * d + t + 1: any mix-up shows.


def documents_of(lengths: list[int]) -> list[np.ndarray]:
    return [1000 * number + np.arange(length) + 1 for number, length in enumerate(lengths)]


def packed(lengths: list[int], seq_len: int, **more: Any) -> PackedSource:
    return PackedSource(documents_of(lengths), seq_len, lengths=lengths, **more)


lengths_and_rows = st.tuples(st.lists(st.integers(0, 70), min_size=1, max_size=60).filter(any), st.integers(1, 40))


@pytest.mark.parametrize("method", ["best-fit", "first-fit", "concat"])
@given(case=lengths_and_rows)
def test_every_token_is_in_exactly_one_row_with_its_position(case: tuple[list[int], int], method: Any) -> None:
    lengths, seq_len = case
    seen = []
    source = packed(lengths, seq_len, method=method)
    for number in range(len(source)):
        row = source[number]
        assert {array.shape for array in row.values()} == {(seq_len,)}
        assert {array.dtype for array in row.values()} == {np.dtype(np.int32)}
        there = row["segment_ids"] > 0
        assert not row["tokens"][~there].any()
        assert not row["positions"][~there].any()
        assert (row["positions"][there] == (row["tokens"][there] - 1) % 1000).all()
        assert there[: there.sum()].all()  # padding comes last
        segments = row["segment_ids"][there]
        assert (np.diff(segments) >= 0).all()
        documents = (row["tokens"][there] - 1) // 1000
        assert len(set(zip(segments.tolist(), documents.tolist(), strict=True))) == len(set(segments.tolist()))
        assert set(segments.tolist()) == set(range(1, len(set(segments.tolist())) + 1))
        seen += row["tokens"][there].tolist()
    assert sorted(seen) == sorted(token for document in documents_of(lengths) for token in document.tolist())
    assert source.fill == pytest.approx(sum(lengths) / (len(source) * seq_len))


@given(lengths_and_rows)
def test_no_two_rows_could_be_one(case: tuple[list[int], int]) -> None:
    lengths, seq_len = case
    source = packed(lengths, seq_len)
    filled = [int((source[row]["segment_ids"] > 0).sum()) for row in range(len(source))]
    # Any two rows hold more than one row's tokens together, or the last piece would have gone into the other.
    assert all(one + other > seq_len for place, one in enumerate(filled) for other in filled[:place])


@given(lengths_and_rows)
def test_first_fit_puts_each_document_into_the_first_row_that_has_room(case: tuple[list[int], int]) -> None:
    lengths, seq_len = case
    rows: list[list[int]] = []
    for document in documents_of(lengths):
        for begin in range(0, len(document), seq_len):
            piece = document[begin : begin + seq_len].tolist()
            row = next((row for row in rows if len(row) + len(piece) <= seq_len), None)
            if row is None:
                rows.append(row := [])
            row += piece
    source = packed(lengths, seq_len, method="first-fit")
    assert [source[n]["tokens"][source[n]["segment_ids"] > 0].tolist() for n in range(len(source))] == rows


@given(lengths_and_rows)
def test_concat_cuts_documents_wherever_a_row_ends(case: tuple[list[int], int]) -> None:
    lengths, seq_len = case
    source = packed(lengths, seq_len, method="concat")
    tokens = np.concatenate([source[n]["tokens"][source[n]["segment_ids"] > 0] for n in range(len(source))])
    assert tokens.tolist() == np.concatenate(documents_of(lengths)).tolist()
    assert all(source[n]["segment_ids"].all() for n in range(len(source) - 1))


def attention(tokens: np.ndarray, positions: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Causal attention of one head over embedded tokens; ``seen`` says which pairs may see each other."""
    weights = np.random.default_rng(0).standard_normal((3, 8, 8))
    angles = positions[:, None] / 10.0 ** np.arange(4)
    embedded = np.sin(tokens[:, None] * np.arange(1, 9)) + np.concatenate([np.sin(angles), np.cos(angles)], 1)
    query, key, value = embedded @ weights
    scores = np.where(seen & (positions[:, None] >= positions), query @ key.T, -np.inf)
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True) @ value


@pytest.mark.parametrize("method", ["best-fit", "first-fit", "concat"])
def test_attention_between_equal_segments_is_attention_within_each_document(method: Any) -> None:
    lengths = [5, 9, 1, 3, 12, 2, 7, 16, 4]
    source = packed(lengths, 16, method=method)
    for number in range(len(source)):
        row = source[number]
        segments, tokens, positions = row["segment_ids"], row["tokens"], row["positions"]
        together = attention(tokens, positions, segments[:, None] == segments)
        for segment in range(1, segments.max() + 1):
            own = segments == segment
            alone = attention(tokens[own], positions[own], np.ones((own.sum(), own.sum()), bool))
            assert np.allclose(together[own], alone)


def test_documents_of_ordinary_lengths_fill_the_rows() -> None:
    lengths = np.random.default_rng(0).lognormal(5, 1, 5000).astype(int)
    source = PackedSource(range(5000), 1024, lengths=lengths, tokenize=lambda n: np.full(lengths[n], n))
    assert source.fill > 0.99
    fills = [packed(lengths.tolist(), 1024, method=method).fill for method in ("first-fit", "concat")]
    assert 0.95 < fills[0] < source.fill <= fills[1]
    assert fills[1] > 0.999


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_rows_are_shuffled_and_resumed_like_any_records(workers: int) -> None:
    lengths = [(7 * number) % 23 + 1 for number in range(80)]
    options: dict[str, Any] = {"batch_size": 4, "output": "numpy", "shuffle": True}

    def make(workers: int) -> Pipeline:
        source = packed(lengths, 24)
        return Pipeline(source=source, num_workers=workers, rngs=np.random.default_rng(3), **options)

    with make(0) as reference:
        expected = [batch["tokens"].tolist() for _ in range(2) for batch in reference]
    with make(workers) as pipeline:
        got = []
        for _ in range(2):
            for batch in pipeline:
                got.append(batch["tokens"].tolist())
                if len(got) == 5:
                    state = pipeline.get_state()
    assert got == expected
    with make(1) as resumed:
        resumed.set_state(state)
        assert [batch["tokens"].tolist() for batch in resumed] == expected[5 : len(expected) // 2]


def test_lengths_are_found_out_and_documents_tokenised_in_workers() -> None:
    texts = [f"{'word ' * (number % 9)}end" for number in range(50)]

    def tokenize(text: str) -> list[int]:
        return [len(word) for word in text.split()]

    lengths = scan(texts, lambda text: len(tokenize(text)), num_workers=2)
    assert lengths.tolist() == [number % 9 + 1 for number in range(50)]
    source = PackedSource(texts, 16, lengths=lengths, tokenize=tokenize, pad_value=-1)
    with Pipeline(source=source, batch_size=4, num_workers=2, output="numpy") as pipeline:
        tokens = np.concatenate([batch["tokens"].ravel() for batch in pipeline])
    assert (tokens == 3).sum() == 50
    assert (tokens == 4).sum() == lengths.sum() - 50
    assert (tokens == -1).sum() == tokens.size - lengths.sum()


def test_wrong_lengths_are_errors_that_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"must have shape \(2,\), one for each document; found \(1,\)"):
        PackedSource([[1], [2]], 4, lengths=[1])
    with pytest.raises(TypeError, match="must be integers, found dtype float64"):
        PackedSource([[1], [2]], 4, lengths=[1.0, 2.0])
    with pytest.raises(ValueError, match="that of document 1 is -2"):
        PackedSource([[1], [2]], 4, lengths=[1, -2])
    with pytest.raises(ValueError, match="seq_len must be at least 1"):
        PackedSource([[1], [2]], 0, lengths=[1, 1])
    with pytest.raises(ValueError, match="method must be one of best-fit, first-fit, concat, got 'worst'"):
        PackedSource([[1]], 1, lengths=[1], method="worst")  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=r"document 1: expected 2 tokens as lengths says, found .*shape \(1,\)"):
        PackedSource([[1], [2]], 4, lengths=[1, 2])[0]
    with pytest.raises(RecordError, match="dtype float64"):
        PackedSource([[1.5]], 4, lengths=[1])[0]
    with pytest.raises(IndexError, match="row 1 is outside"):
        PackedSource([[1]], 4, lengths=[1])[1]


@pytest.mark.parametrize("dtype", ["int64", "uint32", "uint64"])
def test_a_token_that_is_no_int32_is_an_error_that_names_its_document(dtype: str) -> None:
    documents = [np.array([1, 2**31 - 1], dtype), np.array([3, 2**31], dtype)]
    source = PackedSource(documents, 2, lengths=[2, 2])
    assert source[0]["tokens"].tolist() == [1, 2**31 - 1]
    with pytest.raises(RecordError, match=rf"document 1: expected tokens that are int32.*found 2147483648 \({dtype}\)"):
        source[1]
    with pytest.raises(RecordError, match="found -2147483649"):
        PackedSource([np.array([-(2**31) - 1])], 1, lengths=[1])[0]


def test_rows_are_shuffled_where_the_documents_source_says_so() -> None:
    documents = MemorySource(
        MemorySourceConfig(shuffle=True), [np.array([n]) for n in range(50)], rngs=np.random.default_rng(0)
    )
    source = PackedSource(documents, 1, lengths=np.ones(50, int))
    with Pipeline(source=source, batch_size=50, output="numpy") as pipeline:
        [batch] = pipeline
    assert batch["tokens"].ravel().tolist() != list(range(50))
    assert sorted(batch["tokens"].ravel().tolist()) == list(range(50))


def test_a_source_that_chooses_or_serves_a_part_is_refused_because_that_would_be_lost() -> None:
    mixture = MixSource([[[1], [2]], [[3]]], [3, 1], tag=None)
    with pytest.raises(ValueError, match="source 0 of PackedSource is a MixSource, which says itself which records"):
        PackedSource(mixture, 2, lengths=[1, 1, 1])
    part = MemorySource(MemorySourceConfig(shard_id=0, num_workers=2), [[1], [2]])
    with pytest.raises(ValueError, match="source 0 of PackedSource serves part 0 of 2"):
        PackedSource(part, 2, lengths=[1, 1])


def test_masked_tokens_are_an_error() -> None:
    source = PackedSource([np.ma.array([1, 2, 3], mask=[False, True, False])], 3, lengths=[3])
    with pytest.raises(
        RecordError, match="record 0, field 'tokens': expected numbers, found a masked array with 1 masked"
    ):
        source[0]
