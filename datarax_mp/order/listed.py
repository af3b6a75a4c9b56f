"""Records in an order that somebody has written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.newest import Newest
from datarax_mp.order.sampler import Sampler, fingerprint

Written: TypeAlias = Sequence[int] | NDArray[np.integer]


class IndexSampler(Sampler):
    """Records by number: ``Pipeline(sampler=IndexSampler(numbers))``.

    It takes the place of any sampler of torch's: ``IndexSampler(list(sampler))`` is one of its epochs.

    Args:
        numbers: int ``(n,)``, the records of an epoch in their order, each as often as it is there; an array (also an
            ``np.memmap``), which all workers share, or a list. Or a function of the epoch that returns one, always of
            the same length; it is called in every process and must return the same in each.

    Raises:
        TypeError: they are no integers.
        ValueError: they are no vector, or empty.

    >>> choice = IndexSampler([2, 0, 2]).over(3)
    >>> choice.at(0, 5, np.arange(3)).tolist()
    [2, 0, 2]
    """

    def __init__(self, numbers: Written | Callable[[int], Written]) -> None:
        self.by_epoch: Callable[[int], Written] | None = numbers if callable(numbers) else None
        self.numbers = _checked(numbers(0) if callable(numbers) else numbers)

    def over(self, length: int) -> Choice:
        """See ``Sampler``; whether all are records of the source is found out as they are read."""
        return Listed(self.numbers, length, self.by_epoch)


@dataclass(frozen=True, eq=False)
class Listed:
    """Records by number.

    Attributes:
        numbers: of epoch 0, or of every epoch.
        records: how many records there are.
        by_epoch: gives those of an epoch; None where they are always the same.
    """

    numbers: NDArray[np.integer] = field(repr=False)
    records: int
    by_epoch: Callable[[int], Written] | None = None
    _newest: Newest[NDArray[np.integer]] = field(default_factory=lambda: Newest(2), repr=False)

    @property
    def length(self) -> int:
        """See ``Choice``."""
        return len(self.numbers)

    @property
    def shuffled(self) -> bool:
        """See ``Choice``."""
        return False

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``.

        Raises:
            IndexError: a number is none of a record.
            ValueError: the function has returned more or fewer numbers than for epoch 0.
        """
        numbers = self.numbers if self.by_epoch is None else self._newest.get(epoch, lambda: self._of(epoch))
        found = np.asarray(numbers[positions], np.int64)
        if len(found) and not 0 <= found.min() <= found.max() < self.records:
            wrong = int(found[(found < 0) | (found >= self.records)][0])
            raise IndexError(f"the sampler names record {wrong}, and the source has {self.records}, from 0 on")
        return found

    def _of(self, epoch: int) -> NDArray[np.integer]:
        assert self.by_epoch is not None
        numbers = _checked(self.by_epoch(epoch))
        if len(numbers) != self.length:
            raise ValueError(
                f"the sampler's function has returned {len(numbers)} numbers for epoch {epoch} and {self.length} for "
                "epoch 0: all epochs must have the same length"
            )
        return numbers

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self.at(0, 0, positions)

    def narrowed(self, numbers: Numbers) -> Listed:
        """See ``Choice``: those that filters leave out are left out, and the epoch is that much shorter.

        Raises:
            ValueError: the numbers are a function's, or none is left.
        """
        if self.by_epoch is not None:
            raise ValueError(
                "IndexSampler with a function cannot be combined with Filter: epochs would differ in length"
            )
        places = np.minimum(np.searchsorted(numbers, self.numbers), len(numbers) - 1)
        left = places[numbers[places] == self.numbers]
        if not len(left):
            raise ValueError(f"none of the {self.length} records of the sampler is left by the filters")
        return Listed(left, len(numbers))

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        which = "of each epoch" if self.by_epoch is not None else fingerprint(self.numbers)
        return {"length": self.length, "shuffle": False, "choice": f"IndexSampler, numbers {which}"}


def _checked(numbers: Any) -> NDArray[np.integer]:
    array = numbers if isinstance(numbers, np.ndarray) else np.asarray(numbers)
    if array.ndim != 1:
        raise ValueError(f"a sampler's numbers must have one axis, found shape {array.shape}")
    if not len(array):
        raise ValueError("a sampler's numbers are empty: an epoch needs at least one record")
    if array.dtype.kind not in "iu":
        raise TypeError(f"a sampler's numbers must be integers, found dtype {array.dtype}")
    return array
