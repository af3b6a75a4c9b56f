"""The stretches of a mixture: from one record of it to another the same sources take turns by the same weights.

A change of weights begins a stretch at the very record that the schedule names; where a source that has ended is left
out, one begins behind its last record. Each stretch says how many records every source has given before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.distinct import distinct
from datarax_mp.order.choice import Numbers
from datarax_mp.order.shares import MOST_TURNS, Shares

Weights: TypeAlias = tuple[Fraction, ...]
Schedule: TypeAlias = tuple[tuple[int, Weights], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Records of a mixture that are shared out alike.

    Attributes:
        start: the first one's number in the mixture.
        before: how many records each source has given before it.
        shares: whose turn it is from there on.
    """

    start: int
    before: tuple[int, ...]
    shares: Shares

    def turns(self, numbers: Numbers) -> tuple[NDArray[np.int32], Numbers]:
        """Whose each record of the mixture is, and how many that source has given before it."""
        shares = self.shares
        rounds, turns = np.divmod(numbers - self.start, len(shares.owner))
        owners = shares.owner[turns]
        rounds *= np.array(shares.weights)[owners]
        rounds += shares.rank[turns]
        rounds += np.array(self.before)[owners]
        return owners, rounds

    def counts(self, records: int) -> list[int]:
        """How many records each source has given when the mixture has given so many, which are this span's."""
        turns = self.shares.counts(records - self.start)
        return [before + more for before, more in zip(self.before, turns, strict=True)]

    def last_of(self, source: int, length: int) -> int | None:
        """The number, in the mixture, of a source's last record; None if that does not come while this span lasts."""
        if self.shares.weights[source] == 0 or self.before[source] >= length:
            return None
        return self.start + self.shares.turn(source, length - 1 - self.before[source])


def turns_of(spans: Sequence[Span], numbers: Numbers) -> tuple[NDArray[np.int32], Numbers]:
    """Whose each record of the mixture is, and how many that source has given before it."""
    if len(spans) == 1:
        return spans[0].turns(numbers)
    which = np.searchsorted([span.start for span in spans], numbers, "right") - 1
    owners, counts = np.empty(len(numbers), np.int32), np.empty(len(numbers), np.int64)
    for place in distinct(which).tolist():
        rows = np.flatnonzero(which == place)
        owners[rows], counts[rows] = spans[place].turns(numbers[rows])
    return owners, counts


def endless(schedule: Schedule) -> tuple[Span, ...]:
    """The spans of a mixture whose sources begin anew when they end; the last one has no end."""
    spans: list[Span] = []
    before: Sequence[int] = [0] * len(schedule[0][1])
    for start, weights in schedule:
        if spans:
            before = spans[-1].counts(start)
        spans.append(Span(start, tuple(before), Shares.of(weights, _most(len(schedule), weights))))
    return tuple(spans)


def until_first(schedule: Schedule, lengths: Sequence[int]) -> tuple[tuple[Span, ...], int]:
    """The spans of a mixture that ends with the first source that does, and its length."""
    spans = endless(schedule)
    for place, span in enumerate(spans):
        ends = [last + 1 for source, length in enumerate(lengths) if (last := span.last_of(source, length)) is not None]
        end = min(ends)
        if place + 1 == len(spans) or end <= spans[place + 1].start:
            return spans[: place + 1], end
    raise AssertionError("the last span has no end")


def until_last(schedule: Schedule, lengths: Sequence[int]) -> tuple[Span, ...]:
    """The spans of a mixture that leaves out a source that has ended, until all have: every record comes once.

    Raises:
        ValueError: at some record none of the sources that are left has a weight; the message says which record.
    """
    spans: list[Span] = []
    changes = list(schedule)
    start, before, weights = 0, [0] * len(lengths), changes.pop(0)[1]
    while True:
        left = [count < length for count, length in zip(before, lengths, strict=True)]
        if not any(left):
            return tuple(spans)
        rest = tuple(weight if there else Fraction(0) for weight, there in zip(weights, left, strict=True))
        if not any(rest):
            raise ValueError(
                f"at record {start} of the mixture, sources {[n for n, there in enumerate(left) if there]} (by place) "
                "have records left and no weight; with stop='last' every source needs one until it has ended"
            )
        span = Span(start, tuple(before), Shares.of(rest, _most(len(lengths) + len(schedule), rest)))
        spans.append(span)
        lasts = [span.last_of(source, lengths[source]) for source in range(len(lengths)) if rest[source]]
        start = min(last for last in lasts if last is not None) + 1
        if changes and changes[0][0] <= start:
            start, weights = changes.pop(0)
        before = span.counts(start)


def _most(spans: int, weights: Weights) -> int:
    """The longest table for each of several spans."""
    return max(MOST_TURNS // spans, 64 * len(weights))
