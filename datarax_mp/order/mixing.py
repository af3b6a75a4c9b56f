"""Mixing several sources by weight.

    n = epoch * length + position              the records of the whole run are counted through
    n  --spans-->  f(n), count_f(n)            whose turn it is, and how many records that source has given before
    count  --->  its epoch, its position       count // length_f, count % length_f: each source has epochs of its own
    position  --choice of f-->  its record     shuffled by itself, with a seed of its own

So a source of a hundred records and one of a billion take turns, each is read through before any of its records comes
again, and any record of the mixture is found without those before it. Where the mixture has an end (``stop`` is not
``"repeat"``), every epoch begins it anew, and the epochs of all sources are the mixture's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.distinct import distinct
from datarax_mp.order.ahead import ahead
from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import GOLDEN, Words, mix64, part_seed
from datarax_mp.order.newest import Newest
from datarax_mp.order.permutation import permute_each
from datarax_mp.order.sequential import Sequential
from datarax_mp.order.shuffled import Shuffled
from datarax_mp.order.spans import Schedule, Span, endless, turns_of, until_first, until_last

Stop: TypeAlias = Literal["repeat", "first", "last"]

_MOST = 1 << 62  # records are counted in 64 bits; after so many the count begins anew


class _Tables(NamedTuple):
    """What is known of each source, as arrays ``(sources,)``."""

    lengths: Numbers
    offsets: Numbers
    shuffled: NDArray[np.bool_]
    others: list[int]  # sources whose choice is of a kind of its own


@dataclass(frozen=True, eq=False)
class Mixing:
    """A mixture of choices.

    Attributes:
        parts: a choice for each source; it says numbers of that source.
        offsets: where each source's numbers begin among those of all.
        names: what the sources are called.
        schedule: from which record on which weights hold.
        stop: what happens when a source ends.
        spans: who takes turns, by the mixture's records.
        length: the positions of an epoch.
    """

    parts: tuple[Choice, ...]
    offsets: tuple[int, ...]
    names: tuple[str, ...]
    schedule: Schedule
    stop: Stop
    spans: tuple[Span, ...] = field(repr=False)
    length: int
    _newest: Newest[Numbers] = field(default_factory=lambda: Newest(2), repr=False)
    _seeds: Newest[Words] = field(default_factory=lambda: Newest(1), repr=False)

    @classmethod
    def of(
        cls, parts: Sequence[Choice], offsets: Sequence[int], names: Sequence[str], schedule: Schedule, stop: Stop
    ) -> Mixing:
        """The mixture; its spans and its length follow from the lengths of the parts.

        Raises:
            ValueError: with ``stop="last"``, a source has no weight and records left.
        """
        lengths = [part.length for part in parts]
        if stop == "first":
            spans, length = until_first(schedule, lengths)
        else:
            spans = endless(schedule) if stop == "repeat" else until_last(schedule, lengths)
            length = sum(lengths)
        return cls(tuple(parts), tuple(offsets), tuple(names), schedule, stop, spans, length)

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return any(part.shuffled for part in self.parts)

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return ahead(self._newest, seed, epoch, positions, self.length, self._records)

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``: the first records of the first source."""
        return positions

    def narrowed(self, numbers: Numbers) -> Mixing:
        """See ``Choice``: the weights stay, whatever share of a source's records is left.

        Raises:
            ValueError: none of a source's records is left.
        """
        bounds = [0, *np.searchsorted(numbers, self.offsets[1:]).tolist(), len(numbers)]
        for name, begin, end in zip(self.names, bounds[:-1], bounds[1:], strict=True):
            if begin == end:
                raise ValueError(f"none of the records of source '{name}' is left to mix")
        parts = [
            part.narrowed(numbers[begin:end] - offset)
            for part, offset, begin, end in zip(self.parts, self.offsets, bounds[:-1], bounds[1:], strict=True)
        ]
        return Mixing.of(parts, bounds[:-1], self.names, self.schedule, self.stop)

    def facts(self) -> dict[str, Any]:
        """See ``Choice``: what is long is there as a digest."""
        weights = [(start, list(map(str, weights))) for start, weights in self.schedule]
        parts = [(name, part.facts()) for name, part in zip(self.names, self.parts, strict=True)]
        digest = hashlib.sha256(repr((weights, parts)).encode()).hexdigest()[:16]
        choice = f"MixSource of {len(self.parts)}, stop={self.stop}, sources and weights {digest}"
        return {"length": self.length, "shuffle": self.shuffled, "choice": choice}

    def counts(self, records: int) -> list[int]:
        """How many records each source has given when the mixture has given so many since it began."""
        span = next(span for span in reversed(self.spans) if span.start <= records)
        return span.counts(records)

    def expected(self, records: int) -> list[float]:
        """As ``counts``, by the weights alone: parts of records, too."""
        expected = [0.0] * len(self.parts)
        for place, span in enumerate(self.spans):
            end = self.spans[place + 1].start if place + 1 < len(self.spans) else records
            there = max(0, min(end, records) - span.start)
            for source, weight in enumerate(span.shares.weights):
                expected[source] += there * weight / len(span.shares.owner)
        return expected

    def _records(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        through = self.stop == "repeat"
        owners, counts = turns_of(self.spans, positions + epoch * self.length % _MOST if through else positions)
        tables = self._tables
        lengths = tables.lengths[owners]
        epochs, places = np.divmod(counts, lengths) if through else (np.full(len(counts), epoch), counts)
        for part in tables.others:
            rows = np.flatnonzero(owners == part)
            for its_epoch in distinct(epochs[rows]).tolist():
                those = rows[epochs[rows] == its_epoch]
                places[those] = self.parts[part].at(part_seed(seed, part), its_epoch, places[those])
        if tables.shuffled.any():
            rows = np.flatnonzero(tables.shuffled[owners])
            seeds = self._seeds.get(seed, lambda: _seeds(seed, len(self.parts)))
            places[rows] = permute_each(places[rows], lengths[rows], seeds[owners[rows]], epochs[rows])
        return places + tables.offsets[owners]

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables(
            np.array([part.length for part in self.parts]),
            np.array(self.offsets),
            np.array([isinstance(part, Shuffled) for part in self.parts]),
            [place for place, part in enumerate(self.parts) if not isinstance(part, Shuffled | Sequential)],
        )


def _seeds(seed: int, parts: int) -> Words:
    """What ``permute_each`` wants to know of each source's seed."""
    return np.array([mix64(part_seed(seed, part) + GOLDEN) for part in range(parts)], np.uint64)
