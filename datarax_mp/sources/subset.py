"""SubsetSource and split: some of a source's records."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import permute
from datarax_mp.sources.adapt import as_source
from datarax_mp.sources.concat import plain_sources
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.seed import check_seed
from datarax_mp.sources.together import Found, checked_numbers, one_number, read_together

Numbers = NDArray[np.int64]


class NumberTable(Protocol):
    """Record numbers that can be asked for by their places: an array, or arithmetic."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, places: Any, /) -> Any:
        """The numbers at places, as an array."""
        ...


@dataclass(frozen=True, slots=True)
class _Stretch:
    """``range``, asked for several at once."""

    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, places: Numbers) -> Numbers:
        return self.numbers.start + places * self.numbers.step


@dataclass(frozen=True, slots=True)
class _Permuted:
    """A stretch of a permutation of all records; nothing is stored."""

    length: int
    seed: int
    places: range

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: Numbers) -> Numbers:
        return permute(self.places.start + places, self.length, seed=self.seed, epoch=0)


class SubsetSource(SaysFacts):
    """Some of a source's records, in an order of their own.

    Args:
        source: whatever a ``Pipeline`` takes.
        numbers: which records: integers, of which the first is that of record 0. An array (also an ``np.memmap``; it is
            not copied, and all workers share it), a list or a ``range``. A record may come more than once.

    Raises:
        TypeError: ``numbers`` are no integers.
        ValueError: they are no vector or empty; or the source serves only a part of its records or chooses them itself.

    >>> some = SubsetSource({"x": [10, 11, 12]}, [2, 0])
    >>> len(some), some[0]["x"].tolist(), some.__getitems__([0, 1])["x"].tolist()
    (2, 12, [12, 10])
    """

    def __init__(self, source: Any, numbers: Sequence[int] | NDArray[np.integer] | range) -> None:
        [self.source] = plain_sources([source], "SubsetSource")
        self.numbers: NumberTable = _table(numbers)

    def __len__(self) -> int:
        """How many records it has."""
        return len(self.numbers)

    def __getitem__(self, number: int) -> Any:
        """One record.

        Raises:
            IndexError: there is no such record, or its number is none of the source's.
        """
        return self.source[int(self._of_source(np.array([one_number(number, len(self))]))[0])]

    def __getitems__(self, numbers: list[int]) -> Found:
        """Several records, as columns where the source has such."""
        return read_together(self.source, self._of_source(checked_numbers(numbers, len(self))))

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it: it shuffles where the source does."""
        return SourceFacts.of_several(f"SubsetSource of {SourceFacts.of(self.source).name}", [self.source])

    def _of_source(self, places: Numbers) -> Numbers:
        return checked_numbers(self.numbers[places], len(self.source))


def _table(numbers: Any) -> NumberTable:
    if isinstance(numbers, range):
        table: NumberTable = _Stretch(numbers)
    elif isinstance(numbers, (_Stretch, _Permuted)):
        table = numbers
    else:
        array = numbers if isinstance(numbers, np.ndarray) else np.asarray(numbers)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(
                f"numbers must be integers, found dtype {array.dtype}; of a mask, give np.flatnonzero(mask)"
            )
        if array.ndim != 1:
            raise ValueError(f"numbers must have one axis, found shape {array.shape}")
        table = array
    if not len(table):
        raise ValueError("numbers are empty: a source needs at least one record")
    return table


def split(source: Any, fractions: Sequence[float], *, seed: int | None = 0) -> list[SubsetSource]:
    """Divide a source's records at random, each into one part.

    Nothing is stored: which record is where is arithmetic, whatever the source's length. The same seed and length give
    the same parts, in every process and under every version.

    Args:
        source: whatever a ``Pipeline`` takes.
        fractions: each part's share of the records; together 1. Lengths are the nearest, by largest remainders.
        seed: of the division; None cuts the source into stretches instead.

    Raises:
        ValueError: the fractions are negative or do not add up to 1; a part would be empty.

    >>> train, test = split({"x": np.arange(10)}, [0.8, 0.2], seed=0)
    >>> len(train), len(test), sorted(int(part[n]["x"]) for part in (train, test) for n in range(len(part)))
    (8, 2, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    source = as_source(source)
    length = len(source)
    bounds = _bounds(fractions, length)
    parts: list[NumberTable] = [_Stretch(range(begin, end)) for begin, end in itertools.pairwise(bounds)]
    if seed is not None:
        seed = check_seed(seed)
        parts = [_Permuted(length, seed, range(begin, end)) for begin, end in itertools.pairwise(bounds)]
    return [SubsetSource(source, part) for part in parts]  # type: ignore[arg-type]


def _bounds(fractions: Sequence[float], length: int) -> list[int]:
    shares = [float(fraction) for fraction in fractions]
    if not shares or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"fractions must not be negative and add up to 1, got {list(fractions)}")
    exact = [share / sum(shares) * length for share in shares]
    sizes = [math.floor(size + 1e-9) for size in exact]
    nearest = sorted(range(len(sizes)), key=lambda part: sizes[part] - exact[part])
    for part in nearest[: length - sum(sizes)]:
        sizes[part] += 1
    if 0 in sizes:
        raise ValueError(f"fractions {list(fractions)} of {length} records leave part {sizes.index(0)} without any")
    return [0, *np.cumsum(sizes).tolist()]
