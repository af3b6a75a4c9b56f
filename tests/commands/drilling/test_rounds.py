"""Rounds over streams that are made up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp import Pipeline
from datarax_mp.commands.drilling.disturbances import none
from datarax_mp.commands.drilling.reference import Reference, digest, undisturbed
from datarax_mp.commands.drilling.rounds import Round

BATCHES = [{"x": np.arange(4) + step} for step in range(20)]
REFERENCE = Reference([digest(batch) for batch in BATCHES], [{"step": step} for step in range(21)], whole=True)
CHANCE = random.Random(0)


class Stream:
    """A pipeline as far as a round knows it, whose batches are given."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches, self.step, self.closed = batches, 0, 0

    def set_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]

    def __iter__(self) -> Iterator[Any]:
        try:
            for batch in self.batches[self.step :]:
                if isinstance(batch, Exception):
                    raise batch
                yield batch
        finally:
            self.closed += 1


@given(st.integers(1, 200), st.integers(0, 2**31))
def test_a_round_is_a_part_of_the_run_with_something_behind_the_disturbance(length: int, seed: int) -> None:
    one = Round.of(random.Random(seed), length)
    assert 0 <= one.begin <= one.at < one.stop <= length
    assert one.stop - one.at >= min(8, length - one.at) - 1


def test_the_same_is_the_same_and_the_iterator_is_closed() -> None:
    stream = Stream(BATCHES)
    told, difference = Round(3, 5, 20).run(stream, REFERENCE, none, CHANCE)
    assert (told, difference, stream.closed) == ("taken up there, and no more", None, 1)


def test_what_was_begun_is_undone_also_where_a_batch_differs() -> None:
    undone: list[int] = []
    wrong = [*BATCHES[:7], {"x": np.arange(4)}, *BATCHES[8:]]
    told, difference = Round(3, 5, 20).run(
        Stream(wrong), REFERENCE, lambda chance: ("frozen", lambda: undone.append(1)), CHANCE
    )
    assert (told, difference, undone) == ("frozen", "batch 7: field 'x' is another one", [1])


@pytest.mark.parametrize(
    ("batches", "difference"),
    [
        (BATCHES[:12], "behind batch 11 the stream has ended, 8 before its end"),
        ([*BATCHES, BATCHES[0]], "batch 20: there were 20 when nothing was disturbed"),
        ([*BATCHES[:9], OSError("gone")], "behind batch 8: OSError: gone"),
        ([*BATCHES[:9], {"y": BATCHES[9]["x"]}], "batch 9: the fields are ['y'], and were ['x']"),
    ],
)
def test_each_way_of_being_another_stream_is_told(batches: list[Any], difference: str) -> None:
    assert Round(3, 5, 20).run(Stream(batches), REFERENCE, none, CHANCE)[1] == difference


def test_a_kept_batch_that_changes_is_told() -> None:
    batches = [{"x": batch["x"].copy()} for batch in BATCHES]

    def spoil(chance: random.Random) -> Any:
        batches[5]["x"][0] = 99
        return "spoilt", lambda: None

    told, difference = Round(3, 5, 12).run(Stream(batches), REFERENCE, spoil, CHANCE)
    assert (
        told == "spoilt"
        and difference is not None
        and "batch 5: field 'x' is another one, which was kept" in difference
    )


def test_a_round_that_stops_before_the_end_reads_no_further() -> None:
    batches = [*BATCHES[:12], AssertionError("read too far")]
    assert Round(3, 5, 12).run(Stream(batches), REFERENCE, none, CHANCE)[1] is None


def test_a_reference_has_a_state_before_each_batch_and_knows_whether_it_is_whole() -> None:
    with Pipeline(source={"x": np.arange(40)}, batch_size=4, shuffle=True, seed=1, output="numpy") as pipeline:
        whole = undisturbed(pipeline, most=100, seconds=100)
        assert (len(whole.seen), len(whole.states), whole.whole) == (10, 11, True)
        pipeline.set_state(whole.states[0])
        part = undisturbed(pipeline, most=4, seconds=100)
        assert (len(part.seen), part.whole) == (4, False) and part.seen == whole.seen[:4]
        assert Round(2, 3, 10).run(pipeline, whole, none, CHANCE)[1] is None
        assert Round(2, 3, 4).run(pipeline, part, none, CHANCE)[1] is None


def test_a_reference_ends_when_it_is_time() -> None:
    with Pipeline(source={"x": np.arange(40)}, batch_size=4, output="numpy") as pipeline:
        assert len(undisturbed(pipeline, most=100, seconds=-1).seen) == 1
