"""From (epoch, step) to record numbers.

positions of shard k of n:   k, k + n, k + 2n, ...            shard_length of them
step s takes positions       s * batch_size ... (s + 1) * batch_size - 1   of the shard
a position's record          position itself, or permute(position) when the order shuffles;
                             kept[that] where filters have left only some records
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.permutation import permute


@dataclass(frozen=True, slots=True)
class Order:
    """The order of one shard of a source: an arithmetic description, never a list.

    Attributes:
        length: records in the whole source, or as many as filters have kept of them.
        batch_size: records in a batch.
        shuffle: whether positions are permuted anew every epoch.
        seed: the permutation's seed; only counts when ``shuffle`` is set.
        drop_last: whether a last batch that is not full is left out.
        shard_index: which shard this is, from 0.
        shard_count: how many shards share the source.
        kept: int64 ``(length,)``, the numbers of the records that filters have kept, or None where there are none.

    >>> order = Order(length=10, batch_size=4)
    >>> len(order), [order.rows(step) for step in range(len(order))]
    (3, [4, 4, 2])
    >>> order.records(epoch=0, step=1).tolist()
    [4, 5, 6, 7]
    """

    length: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    drop_last: bool = False
    shard_index: int = 0
    shard_count: int = 1
    kept: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.length < 0 or self.batch_size < 1:
            raise ValueError(f"an order needs length >= 0 and batch_size >= 1; got {self.length=}, {self.batch_size=}")
        if not 0 <= self.shard_index < self.shard_count:
            raise ValueError(f"shard_index must be in [0, {self.shard_count}), got {self.shard_index}")

    @property
    def shard_length(self) -> int:
        """Records that this shard serves in an epoch."""
        return len(range(self.shard_index, self.length, self.shard_count))

    def __len__(self) -> int:
        """Steps in an epoch."""
        full, rest = divmod(self.shard_length, self.batch_size)
        return full + bool(rest and not self.drop_last)

    def rows(self, step: int) -> int:
        """Records in the batch of one step: ``batch_size``, or fewer in the last."""
        return min(self.batch_size, self.shard_length - step * self.batch_size)

    def records(self, epoch: int, step: int, steps: int = 1) -> NDArray[np.int64]:
        """Record numbers of ``steps`` consecutive steps, as int64 ``(rows,)``, one step after the other."""
        first = step * self.batch_size
        last = min(first + steps * self.batch_size, self.shard_length)
        positions = np.arange(
            self.shard_index + first * self.shard_count, self.shard_index + last * self.shard_count, self.shard_count
        )
        if self.shuffle:
            positions = permute(positions, self.length, seed=self.seed, epoch=epoch)
        return positions if self.kept is None else self.kept[positions]
