"""Filter: which records there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datarax_mp.stages.base import Rank, Stage


@dataclass(frozen=True, slots=True)
class Filter(Stage):
    """Leave out the records for which a predicate is false; batches stay full.

    Which records are left is found out before the first batch: the workers read the whole source, run the stages
    before the filter, and ask the predicate. After that a filtered epoch is like one over a shorter source: the order
    is arithmetic, ``len(pipeline)`` is exact, shards are equally long, and resuming in the middle costs nothing.

    **What that costs:** one pass over the source (reading, and the stages up to the last filter), and 8 bytes a record
    that is left. The result is kept for as long as the source object lives, for every pipeline over it and as long as
    neither its content nor that of the stages up to there changes; both are looked at when an epoch begins, arrays at 1
    GB/s or quicker. Every change costs another pass, in which the epoch is 0. What can be decided from an index or a
    table of labels is better left out of the source to begin with. The records of an ``IterableSource`` are filtered as
    they come.

    Because a record is in or out for good, a filter must come before all random stages.

    Attributes:
        fn: ``record -> bool``.

    >>> Filter(lambda record: record["label"] < 5).fn({"label": 3})
    True
    """

    rank = Rank.RECORD
    decides = True

    fn: Callable[[Any], bool]
