"""Batches of records of similar length, so that little of them is padding.

    another choice    9 2 7 1 | 8 3 2 6 | ...       pools of so many batches, here of two of two records
    sorted            1 2 7 9 | 2 3 6 8 | ...       by length, within each pool
    batches permuted  7 9 1 2 | 2 3 6 8 | ...

A pool is worked out when the first record of it is wanted, and kept until the next one: a sort of some thousand numbers
for a hundred batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datarax_mp.core.distinct import distinct
from datarax_mp.core.integers import integer
from datarax_mp.order.batch_by import BatchBy, Batches
from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import key_of, mix64, part_seed
from datarax_mp.order.newest import Newest
from datarax_mp.order.permutation import permute
from datarax_mp.order.sampler import check_count, fingerprint


class LengthGroups(BatchBy):
    """Batches of similar length: ``Pipeline(batch_by=LengthGroups(lengths))``, with ``Pad`` among the stages.

    The records of an epoch, in whatever order they come, are taken by pools; a pool is sorted by length, cut into
    batches, and the batches come in a random order, for which the pipeline needs a seed, also without ``shuffle``. Each
    record comes as often as it would otherwise.

    Args:
        lengths: ``(records,)``, numbers: a length for each, ``datarax_mp.scan(source, len, num_workers=...)`` say.
        batches: how many batches a pool has: more make lengths more alike, and records move farther.
        rows: how many records come together. None is a batch of all shards; a run that is to go on with another batch
            size or number of shards names those that it began with.

    Raises:
        TypeError: lengths are no numbers.
        ValueError: they are no vector, or a number is too small.
    """

    def __init__(self, lengths: ArrayLike, *, batches: int = 100, rows: int | None = None) -> None:
        self.lengths = np.asarray(lengths)
        if self.lengths.dtype.kind not in "iuf":
            raise TypeError(f"lengths must be numbers, found dtype {self.lengths.dtype}")
        if self.lengths.ndim != 1:
            raise ValueError(f"lengths must have one axis, one for each record; found shape {self.lengths.shape}")
        self.batches = integer("batches", batches, least=1)
        self.rows = None if rows is None else integer("rows", rows, least=1)

    def over(self, choice: Choice, records: int, batches: Batches) -> Choice:
        """See ``BatchBy``."""
        check_count("lengths", len(self.lengths), records)
        return LengthGrouped(choice, self.lengths, self.rows or batches.rows * batches.shards, self.batches)


@dataclass(frozen=True, eq=False)
class LengthGrouped:
    """Another choice's records, grouped by length.

    Attributes:
        choice: whose records.
        lengths: ``(records,)``.
        rows: records that come together.
        batches: so many rows make a pool.
    """

    choice: Choice
    lengths: NDArray[Any] = field(repr=False)
    rows: int
    batches: int
    _newest: Newest[Numbers] = field(default_factory=lambda: Newest(2), repr=False)

    @property
    def length(self) -> int:
        """See ``Choice``."""
        return self.choice.length

    @property
    def shuffled(self) -> bool:
        """See ``Choice``: the order of batches is."""
        return True

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        size = self.rows * self.batches
        found = np.empty_like(positions)
        pools = positions // size
        for pool in distinct(pools).tolist():
            rows = np.flatnonzero(pools == pool)
            records = self._newest.get((seed, epoch, pool), self._making(seed, epoch, pool))
            found[rows] = records[positions[rows] - pool * size]
        return found

    def _making(self, seed: int, epoch: int, pool: int) -> Callable[[], Numbers]:
        def make() -> Numbers:
            size = self.rows * self.batches
            begin = pool * size
            records = self.choice.at(seed, epoch, np.arange(begin, min(begin + size, self.length)))
            by_length = records[np.argsort(self.lengths[records], kind="stable")]
            return by_length[_in_batches(len(records), self.rows, part_seed(seed, pool), epoch)]

        return make

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self.choice.examples(positions)

    def narrowed(self, numbers: Numbers) -> LengthGrouped:
        """See ``Choice``."""
        return LengthGrouped(self.choice.narrowed(numbers), self.lengths[numbers], self.rows, self.batches)

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        facts = self.choice.facts()
        which = f"LengthGroups(batches={self.batches}, rows={self.rows}), lengths {fingerprint(self.lengths)}"
        return {**facts, "choice": f"{facts['choice']}; {which}" if "choice" in facts else which}


def _in_batches(count: int, rows: int, seed: int, epoch: int) -> Numbers:
    """Of ``count`` sorted records, which comes where: whole batches in a random order, then one that is not full.

    The one that is not full is any stretch of them, not always the longest records.
    """
    whole, rest = divmod(count, rows)
    if not whole:
        return np.arange(count)
    short = mix64(key_of(seed, epoch)) % (whole + 1)
    batches = permute(np.arange(whole), whole, seed=seed, epoch=epoch)
    begins = batches * rows + np.where(batches >= short, rest, 0)
    order = (begins[:, None] + np.arange(rows)).ravel()
    return np.concatenate([order, np.arange(short * rows, short * rows + rest)])
