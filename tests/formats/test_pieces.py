"""Pieces of files, and cutting files into them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datarax_mp.formats.pieces import Stamp, even_runs, read_piece


def test_a_piece_is_the_bytes_between_two_offsets(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(100)))
    stamp = Stamp.of(str(path))
    assert read_piece(str(path), stamp, 10, 20).tolist() == list(range(10, 20))
    assert read_piece(str(path), stamp, 10, 10).tolist() == []
    with pytest.raises(OSError, match="expected bytes up to 101, found the end of the file at 100"):
        read_piece(str(path), stamp, 90, 101)
    path.write_bytes(bytes(101))
    with pytest.raises(OSError, match="found one of 101 bytes"):
        read_piece(str(path), stamp, 10, 20)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 900)), max_size=60), st.integers(1, 3000))
def test_runs_cover_everything_once_and_are_about_as_large_as_asked(lengths: list[tuple[int, int]], size: int) -> None:
    steps = np.array(lengths, np.int64).reshape(-1, 2)
    ends = np.cumsum(steps.sum(1))
    begins = ends - steps[:, 1]
    runs = even_runs(begins, ends, size)
    assert runs[0] == 0
    assert runs[-1] == len(lengths)
    assert (np.diff(runs) > 0).all()
    largest = steps.sum(1).max(initial=0)
    for first, end in itertools.pairwise(runs.tolist()):
        assert ends[end - 1] - begins[first] <= 1.5 * size + 2 * largest + 2
