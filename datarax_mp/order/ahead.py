"""Working out records some way ahead, where asking for few costs as much as asking for many.

Of 256 records at a time NumPy's calls cost more than their work. A worker does the steps of a run one after the other,
so that what is worked out with a step's records are mostly the next step's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datarax_mp.order.choice import Numbers
from datarax_mp.order.newest import Newest

AHEAD = 4096


def ahead(
    newest: Newest[Numbers],
    seed: int,
    epoch: int,
    positions: Numbers,
    length: int,
    records: Callable[[int, int, Numbers], Numbers],
) -> Numbers:
    """The records at positions; those of the same stretch of ``AHEAD`` positions, or of two, are kept.

    Args:
        newest: where they are kept.
        seed: see ``Choice.at``.
        epoch: see ``Choice.at``.
        positions: see ``Choice.at``.
        length: the positions of an epoch.
        records: says it of any positions.
    """
    if 0 < len(positions) < AHEAD:
        first = int(positions[0]) // AHEAD * AHEAD
        places = positions - first
        last = int(places.max())
        if places.min() >= 0 and last < 2 * AHEAD:

            def stretch(begin: int) -> Numbers:
                at = np.arange(begin, min(begin + AHEAD, length))
                return newest.get((seed, epoch, begin), lambda: records(seed, epoch, at))

            if last < AHEAD:
                return stretch(first)[places]
            return np.concatenate([stretch(first), stretch(first + AHEAD)])[places]
    return records(seed, epoch, positions)
