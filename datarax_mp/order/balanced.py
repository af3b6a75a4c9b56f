"""Classes equally often.

    turn         0     1     2     3     ...       each turn has every class once, in an order of its own
    classes    b a c | c b a | a c b | ...
    records    class c's are read through, shuffled anew, before one comes again

So the number of records that two classes have had in an epoch never differs by more than one, whatever their sizes. An
epoch begins with a new turn: what its last turn may lack does not come later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datarax_mp.core.distinct import distinct
from datarax_mp.core.integers import integer
from datarax_mp.order.ahead import ahead
from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import GOLDEN, mix64, part_seed
from datarax_mp.order.newest import Newest
from datarax_mp.order.permutation import MOST_SORTED, permute_each, sort_each
from datarax_mp.order.sampler import Sampler, check_count, fingerprint

_MOST = 1 << 61  # turns are counted in 64 bits; after so many the count begins anew


class ClassBalancedSampler(Sampler):
    """Every class equally often, whatever its size: ``Pipeline(sampler=ClassBalancedSampler(labels))``.

    Of each class the records come in a random order, all of them before one comes again, and the next epoch goes on
    with it. But where ``num_samples`` is no multiple of the number of classes, the classes that have no place in the
    last turn of an epoch pass over one record each, which then comes once less.

    Args:
        labels: ``(records,)``, the class of each: numbers or text.
        num_samples: how many records an epoch has; None is as many as there are labels.

    Raises:
        ValueError: labels are no vector, or empty.

    >>> labels = np.array(["cat"] * 7 + ["dog"])
    >>> choice = ClassBalancedSampler(labels).over(8)
    >>> sorted(labels[choice.at(0, 0, np.arange(8))].tolist())
    ['cat', 'cat', 'cat', 'cat', 'dog', 'dog', 'dog', 'dog']
    """

    def __init__(self, labels: ArrayLike, *, num_samples: int | None = None) -> None:
        array = np.asarray(labels)
        if array.ndim != 1 or not len(array):
            raise ValueError(f"labels must have one axis, one label for each record; found shape {array.shape}")
        self.classes, self.counts = _coded(array)
        self.num_samples = integer("num_samples", len(array) if num_samples is None else num_samples, least=1)

    def over(self, length: int) -> Choice:
        """See ``Sampler``."""
        check_count("labels", len(self.classes), length)
        return Balanced(np.argsort(self.classes, kind="stable"), self.counts, self.num_samples)


@dataclass(frozen=True, eq=False)
class Balanced:
    """Classes equally often.

    Attributes:
        members: int64 ``(records,)``, the records, class by class.
        counts: int64 ``(classes,)``, how many each has.
        length: the positions of an epoch.
    """

    members: Numbers = field(repr=False)
    counts: Numbers = field(repr=False)
    length: int
    _newest: Newest[Numbers] = field(default_factory=lambda: Newest(2), repr=False)

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return True

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return ahead(self._newest, seed, epoch, positions, self.length, self._records)

    def _records(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        classes = len(self.counts)
        turns, places = np.divmod(positions, classes)
        turns += epoch * -(-self.length // classes) % _MOST
        seeds = np.array([mix64(part_seed(seed, part) + GOLDEN) for part in range(2)], np.uint64)
        if classes <= MOST_SORTED:
            there = distinct(turns)
            which = sort_each(there, classes, seeds[0]).ravel()[np.searchsorted(there, turns) * classes + places]
        else:
            which = permute_each(places, np.full(len(turns), classes), np.full(len(turns), seeds[0]), turns)
        rounds, places = np.divmod(turns, self.counts[which])
        # Classes of one size would be shuffled alike, were their epochs not told apart.
        within = permute_each(places, self.counts[which], np.full(len(turns), seeds[1]), rounds * classes + which)
        return self.members[(np.cumsum(self.counts) - self.counts)[which] + within]

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self.members[positions % len(self.members)]

    def narrowed(self, numbers: Numbers) -> Balanced:
        """See ``Choice``: an epoch is as long as before, and classes of which nothing is left are left out."""
        classes = np.empty(len(self.members), np.int64)
        classes[self.members] = np.repeat(np.arange(len(self.counts)), self.counts)
        _, left, counts = np.unique(classes[numbers], return_inverse=True, return_counts=True)
        return Balanced(np.argsort(left, kind="stable"), counts, self.length)

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        which = fingerprint(self.members, self.counts)
        return {"length": self.length, "shuffle": True, "choice": f"ClassBalancedSampler, labels {which}"}


def _coded(labels: np.ndarray) -> tuple[NDArray[np.integer], Numbers]:
    """Labels as numbers from 0 on without gaps, and how many records each has."""
    numbers = labels.dtype.kind in "iub"
    low, high = (int(labels.min()), int(labels.max())) if numbers else (0, 0)
    if numbers and high - low < 1 << 16 and high < _MOST:
        shifted = (labels.astype(np.int64) - low).astype(np.uint16)  # sorted by their digits, which is quick
        counts = np.bincount(shifted)
        return (np.cumsum(counts > 0) - 1).astype(np.uint16)[shifted], counts[counts > 0]
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return codes, counts
