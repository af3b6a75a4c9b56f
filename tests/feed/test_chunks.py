"""Where chunks of steps end."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.feed.chunks import Chunks

CHUNKS = st.builds(
    Chunks, st.integers(1, 9), start=st.integers(-20, 20), every=st.none() | st.integers(1, 30), filled=st.booleans()
)


def ends(chunks: Chunks, upto: int) -> set[int]:
    """Where they end, counted up one by one."""
    found, size, since = set(), 0, 0
    for step in range(chunks.start, upto):
        size, since = size + 1, since + 1
        if size == chunks.most or since == chunks.every:
            found.add(step + 1)
            size = 0
        since = 0 if since == chunks.every else since
    return found


@given(CHUNKS, st.integers(0, 50))
def test_a_chunk_ends_at_the_next_end(chunks: Chunks, after: int) -> None:
    step = chunks.start + after
    assert step + chunks.size(step, 0) == min(end for end in ends(chunks, step + 10) if end > step)


@given(CHUNKS, st.integers(0, 50), st.integers(1, 40))
def test_a_run_has_as_many_whole_chunks_as_fit_in(chunks: Chunks, after: int, room: int) -> None:
    step = chunks.start + after
    fitting = [end - step for end in ends(chunks, step + room + 1) if 0 < end - step <= room]
    assert chunks.reach(step, 0, room) == max(fitting, default=room)


@given(CHUNKS, st.integers(0, 12))
def test_chunks_are_made_smaller_only_where_their_size_is_ours_to_choose(chunks: Chunks, steps: int) -> None:
    assert chunks.within(steps).most == (min(chunks.most, max(1, steps)) if chunks.filled else chunks.most)


@given(CHUNKS, st.integers(0, 50))
def test_a_later_epoch_has_them_from_its_first_step_on(chunks: Chunks, step: int) -> None:
    assert chunks.size(step, 1) == dataclasses.replace(chunks, start=0).size(step, 0)
