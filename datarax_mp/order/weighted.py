"""Records drawn by weight.

With replacement, what stands at a position is found by one random number, made of (seed, epoch, position), in the
running sum of the weights. A table of where each part of the sum begins (Chen, Asau, "On generating random variates
from an empirical distribution", 1974) leaves a few sums to look at, in one place of memory. That is 9 bytes a
record, made once, in memory that all workers share.

Without replacement records are drawn one after the other, each in proportion to its weight among those that are left.
That is the order of the arrivals ``-log(u) / weight``, u random for each (seed, epoch, record) (Efraimidis, Spirakis,
"Weighted random sampling with a reservoir", 2006): a table that each worker makes once per epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datarax_mp.core.integers import integer
from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import key_of, uniform
from datarax_mp.order.newest import Newest
from datarax_mp.order.sampler import Sampler, check_count, fingerprint

Weights: TypeAlias = ArrayLike | Callable[[int], ArrayLike]
Floats: TypeAlias = NDArray[np.float64]


_SUMS_IN_PART = 8  # on average


class WeightedSampler(Sampler):
    """Records at random, in proportion to their weights: ``Pipeline(sampler=WeightedSampler(weights))``.

    It takes the place of torch's ``WeightedRandomSampler``. Every epoch draws anew.

    Args:
        weights: float ``(records,)``, at least 0, in proportion to each other; or a function of the epoch that returns
            them, always one for each record. It is called in every process, must return the same in each, and what it
            returns is kept for an epoch.
        replacement: whether a record may come more than once in an epoch.
        num_samples: how many records an epoch has; None is as many as there are weights, or without replacement as many
            as have a weight above 0.

    Raises:
        TypeError: weights are no numbers.
        ValueError: they are negative, infinite or all 0; or there are too few to draw ``num_samples`` of.

    >>> choice = WeightedSampler([0.0, 1.0, 3.0], num_samples=8).over(3)
    >>> sorted(set(choice.at(0, 0, np.arange(8)).tolist())), choice.length
    ([1, 2], 8)
    """

    def __init__(self, weights: Weights, *, replacement: bool = True, num_samples: int | None = None) -> None:
        if not isinstance(replacement, (bool, np.bool_)):
            raise TypeError(f"replacement must be a bool, got {replacement!r}")
        self.replacement = bool(replacement)
        self.by_epoch: Callable[[int], ArrayLike] | None = weights if callable(weights) else None
        self.weights = _checked(weights(0) if callable(weights) else weights)
        least = 1
        if num_samples is None:
            num_samples = len(self.weights) if replacement else int(np.count_nonzero(self.weights))
        self.num_samples = integer("num_samples", num_samples, least=least)

    def over(self, length: int) -> Choice:
        """See ``Sampler``."""
        check_count("weights", len(self.weights), length)
        kind = Drawn if self.replacement else DrawnOnce
        return kind.of(self.weights, self.by_epoch, self.num_samples, length)


@dataclass(frozen=True, eq=False)
class _Weighted:
    """What both kinds have.

    Attributes:
        table: of epoch 0's weights, or of all epochs'.
        by_epoch: gives the weights of an epoch; None where they are always the same.
        length: records drawn in an epoch.
        records: how many records the source has, each with a weight.
        numbers: of which records the weights count, where filters have left some; None is all.
    """

    table: Floats = field(repr=False)
    by_epoch: Callable[[int], ArrayLike] | None
    length: int
    records: int
    numbers: Numbers | None = field(default=None, repr=False)
    _newest: Newest[Any] = field(default_factory=lambda: Newest(2), repr=False)

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return True

    def _weights_of(self, epoch: int) -> Floats:
        """Those of an epoch, of the records that count.

        Raises:
            ValueError: the function has returned more or fewer than there are records.
        """
        assert self.by_epoch is not None
        weights = _checked(self.by_epoch(epoch))
        if len(weights) != self.records:
            raise ValueError(
                f"the sampler's function has returned {len(weights)} weights for epoch {epoch}: expected one for each "
                f"of the source's {self.records} records, as for epoch 0"
            )
        return weights if self.numbers is None else weights[self.numbers]

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        which = "of each epoch" if self.by_epoch is not None else fingerprint(self.table)
        choice = f"WeightedSampler, {'with' if isinstance(self, Drawn) else 'without'} replacement, weights {which}"
        return {"length": self.length, "shuffle": True, "choice": choice}


@dataclass(frozen=True, eq=False)
class Drawn(_Weighted):
    """Drawn with replacement; ``table`` is the running sum of the weights."""

    begins: Numbers = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    @classmethod
    def of(
        cls,
        weights: Floats,
        by_epoch: Callable[[int], ArrayLike] | None,
        length: int,
        records: int,
        numbers: Numbers | None = None,
    ) -> Drawn:
        """The choice by these weights."""
        sums, begins = _sums(weights)
        return cls(sums, by_epoch, length, records, numbers, begins=begins)

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        sums, begins = self.table, self.begins
        if self.by_epoch is not None:
            sums, begins = self._newest.get(epoch, lambda: _sums(self._weights_of(epoch)))
        wanted = uniform(key_of(seed, epoch), positions)
        part = (wanted * (len(begins) - 1)).astype(np.int64)
        wanted *= sums[-1]
        found, last = begins[part], begins[part + 1]
        # The first sum above what is wanted is between them: a binary search whose steps are the same for all.
        step = 1 << int((last - found).max(initial=0)).bit_length() >> 1
        while step:
            below = sums.take(found + (step - 1), mode="clip") <= wanted
            found += below * step
            step >>= 1
        return np.minimum(found, last, out=found)

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``: records with a weight."""
        return self.at(0, 0, positions)

    def narrowed(self, numbers: Numbers) -> Drawn:
        """See ``Choice``: as many are drawn as before."""
        weights = np.diff(self.table, prepend=0)[numbers]
        return Drawn.of(_some(weights), self.by_epoch, self.length, self.records, numbers)


@dataclass(frozen=True, eq=False)
class DrawnOnce(_Weighted):
    """Drawn without replacement; ``table`` is the weights."""

    @classmethod
    def of(cls, weights: Floats, by_epoch: Callable[[int], ArrayLike] | None, length: int, records: int) -> DrawnOnce:
        """The choice by these weights."""
        _check_enough(weights, length)
        return cls(weights, by_epoch, length, records)

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self._newest.get((seed, epoch), lambda: self._order(seed, epoch))[positions]

    def _order(self, seed: int, epoch: int) -> Numbers:
        weights = self.table if self.by_epoch is None else self._weights_of(epoch)
        _check_enough(weights, self.length)
        with np.errstate(divide="ignore"):
            arrivals = -np.log1p(-uniform(key_of(seed, epoch), np.arange(len(weights)))) / weights
        arrivals[weights == 0] = np.inf
        first = np.arange(len(weights))
        if self.length < len(weights):
            first = np.argpartition(arrivals, self.length - 1)[: self.length]
        return first[np.argsort(arrivals[first], kind="stable")]

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``: records with a weight."""
        return np.flatnonzero(self.table)[positions]

    def narrowed(self, numbers: Numbers) -> DrawnOnce:
        """See ``Choice``: as many are drawn as before, if so many are left.

        Raises:
            ValueError: fewer are left.
        """
        narrowed = DrawnOnce(self.table[numbers], self.by_epoch, self.length, self.records, numbers)
        _check_enough(narrowed.table, self.length)
        return narrowed


def _checked(weights: ArrayLike) -> Floats:
    array = np.asarray(weights)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"weights must be numbers, found dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"weights must have one axis, one weight for each record; found shape {array.shape}")
    array = array.astype(np.float64, copy=False)
    if len(array) and not (array.min() >= 0 and array.max() < np.inf):
        wrong = int(np.flatnonzero(~((array >= 0) & (array < np.inf)))[0])
        raise ValueError(f"weights must be at least 0 and finite; that of record {wrong} is {array[wrong]}")
    return _some(array)


def _sums(weights: Floats) -> tuple[Floats, Numbers]:
    """The running sum, and for each of many equal parts of it the place of the first one above its begin.

    The last place is that of the first sum that is the whole one, so that no record behind it, which has no weight, is
    ever drawn.
    """
    sums = np.cumsum(_some(weights))
    parts = max(1, len(sums) // _SUMS_IN_PART)
    begins = np.searchsorted(sums, np.arange(parts + 1) * (sums[-1] / parts), "right")
    return sums, np.minimum(begins, np.searchsorted(sums, sums[-1]))


def _some(weights: Floats) -> Floats:
    if not weights.any():
        raise ValueError(f"the weights of all {len(weights)} records are 0; expected at least one above")
    return weights


def _check_enough(weights: Floats, length: int) -> None:
    if (there := int(np.count_nonzero(weights))) < length:
        raise ValueError(
            f"{length} records cannot be drawn without replacement: {there} of {len(weights)} have a weight above 0. "
            "Lower num_samples, or draw with replacement"
        )
