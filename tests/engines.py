"""What holds of every engine, for the tests of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from datarax_mp import Pipeline
from datarax_mp.testing import check_resume

BAD = 13  # the record over which ``fails`` does


def fails(record: dict[str, Any]) -> dict[str, Any]:
    """A stage with which one record is wrong."""
    if record["n"] == BAD:
        raise KeyError("no such thing")
    return record


def check_going_on(pipeline: Pipeline, others: Iterable[Callable[[], Pipeline]]) -> None:
    """A run goes on from any step of a pipeline, there and in others with other engines; batches that are kept stay."""
    check_resume(pipeline, steps=5)
    iterator = iter(pipeline)
    kept = [next(iterator) for _ in range(3)]
    before = [batch["n"].tolist() for batch in kept]
    state = pipeline.get_state()
    rest = [batch["n"].tolist() for batch in iterator]
    assert [batch["n"].tolist() for batch in kept] == before
    for make in others:
        with make() as other:
            other.set_state(state)
            assert [batch["n"].tolist() for batch in other] == rest


def check_errors(make: Callable[..., Pipeline], length: int, notes: Iterable[str] = ()) -> None:
    """What a stage raises comes behind the batches before it, with record and stage in its notes; or it is skipped.

    Args:
        make: makes a pipeline in batches of four, with these options more.
        length: how many records it has.
        notes: what is to be in the error's notes beside that.
    """
    found: list[int] = []
    with make(shuffle=False, stages=[fails]) as pipeline, pytest.raises(KeyError, match="no such thing") as caught:
        for batch in pipeline:
            found += batch["n"].tolist()
    assert found == list(range(12))
    for words in (f"MapElement(fails) worked on record {BAD}", *notes):
        assert any(words in note for note in caught.value.__notes__)
    with make(stages=[fails], on_error="skip") as pipeline:
        assert sum(batch.batch_size for batch in pipeline) == length - 1
        assert [skip.record for skip in pipeline.skips] == [BAD]
