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

    With ``on_error="skip"``, a record for which something is raised meanwhile is in the epoch, where it is skipped if
    that happens again; for that the filter is asked once more for every record that is left.

    Because a record is in or out for good, a filter must come before all random stages.

    Attributes:
        fn: ``record -> bool``.

    >>> Filter(lambda record: record["label"] < 5).fn({"label": 3})
    True
    """

    rank = Rank.RECORD
    decides = True

    fn: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class AskedAgain(Stage):
    """A filter that is asked once more in the epoch, with ``on_error="skip"``: it may not have come to say anything.

    A record for which something was raised while the filter was asked first is in the epoch, so that whatever is raised
    again is a reason to skip it. If nothing is, the filter says now whether it stays.

    Attributes:
        filter: a stage that decides.

    >>> AskedAgain(Filter(lambda record: record["label"] < 5)).fn({"label": 3})
    {'label': 3}
    """

    rank = Rank.RECORD
    asks_again = True

    filter: Any

    @property
    def name(self) -> str:
        """See ``Stage``."""
        return str(self.filter.name)

    @property
    def user_code(self) -> bool:
        """See ``Stage``."""
        return bool(self.filter.user_code)

    @property
    def fn(self) -> Callable[[Any], Any]:
        """``record -> record``, or an error where the filter leaves it out."""
        return self._kept

    def _kept(self, record: Any) -> Any:
        if not self.filter.fn(record):
            raise ValueError(f"{self.name} leaves it out, which it did not say when all records were filtered")
        return record
