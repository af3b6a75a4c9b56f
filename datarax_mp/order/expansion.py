"""Items: the things that epochs are made of where one record becomes several.

    record    0      1   2      3          counts 2 0 1 3, found once by a pass over the source
    item      0  1       2      3  4  5    which is record 3's item 1: by the running sum of the counts

An order chooses among items as it otherwise does among records; what has to do with records asks here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.choice import Numbers


class ItemNumber(int):
    """An item's number that says of which record it is, also in messages.

    Attributes:
        record: the record's number.
        place: which of its items.

    >>> ItemNumber(4, record=3, place=1) + 1, f"record {ItemNumber(4, record=3, place=1)}"
    (5, 'record 3 (item 1 of it)')
    """

    record: int
    place: int

    def __new__(cls, number: int, *, record: int, place: int) -> ItemNumber:
        """The number, with what it stands for."""
        item = super().__new__(cls, number)
        item.record, item.place = record, place
        return item

    def __repr__(self) -> str:
        return f"{self.record} (item {self.place} of it)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """Which items each record has.

    Attributes:
        ends: int64 ``(records,)``, for each record the number after that of its last item.

    >>> expansion = Expansion.of(np.array([2, 0, 1, 3]))
    >>> expansion.items, expansion.records(np.arange(6)).tolist(), expansion.named(np.array([4]))
    (6, [0, 0, 2, 3, 3, 3], [3 (item 1 of it)])
    """

    ends: Numbers = field(repr=False)

    @classmethod
    def of(cls, counts: NDArray[np.integer]) -> Expansion:
        """By how many items each record has."""
        return cls(np.cumsum(counts, dtype=np.int64))

    @property
    def items(self) -> int:
        """How many there are."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def records(self, items: Numbers) -> Numbers:
        """The records that items are of, both int64 ``(n,)``."""
        return np.searchsorted(self.ends, items, "right")

    def named(self, items: Numbers) -> list[int]:
        """The items as numbers that know what they stand for."""
        records = self.records(items)
        places = items - np.where(records, self.ends[records - 1], 0)
        each = zip(items.tolist(), records.tolist(), places.tolist(), strict=True)
        return [ItemNumber(item, record=record, place=place) for item, record, place in each]


def record_of(number: int) -> int:
    """The record that a number is one of, or is of an item of."""
    return number.record if isinstance(number, ItemNumber) else number
