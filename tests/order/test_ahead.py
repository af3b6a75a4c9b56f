"""Records worked out ahead are those that are worked out at once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datarax_mp.order.ahead import AHEAD, ahead
from datarax_mp.order.choice import Numbers
from datarax_mp.order.newest import Newest

LENGTH = 3 * AHEAD + 100


class Asked:
    """Says of a position its square, and how often it was asked for a stretch that begins there."""

    def __init__(self) -> None:
        self.newest = Newest[Numbers](2)
        self.times = Counter[int]()

    def records(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        self.times[int(positions.min(initial=LENGTH))] += 1
        return positions**2 + seed + epoch

    def at(self, positions: Numbers) -> Numbers:
        return ahead(self.newest, 1, 2, positions, LENGTH, self.records)


@pytest.mark.parametrize(
    "positions",
    [
        np.arange(0),
        np.arange(10),
        np.arange(AHEAD - 5, AHEAD + 5),
        np.arange(LENGTH - 7, LENGTH),
        np.array([2 * AHEAD - 1, 2 * AHEAD, AHEAD]),
        np.array([AHEAD + 3, 5]),  # the first is not the least
        np.array([3, 2 * AHEAD + 1]),  # too far apart
        np.arange(AHEAD + 10),
    ],
)
def test_it_changes_nothing(positions: Numbers) -> None:
    assert Asked().at(positions).tolist() == (positions**2 + 3).tolist()


@pytest.mark.parametrize("rows", [64, 100, 256, 300])
def test_consecutive_batches_have_each_stretch_worked_out_once_also_where_they_lie_across(rows: int) -> None:
    asked = Asked()
    for begin in range(0, LENGTH, rows):
        asked.at(np.arange(begin, min(begin + rows, LENGTH)))
    assert asked.times == dict.fromkeys(range(0, LENGTH, AHEAD), 1)
