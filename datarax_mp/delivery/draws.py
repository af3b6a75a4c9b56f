"""What random device stages draw from: numbers that are the same wherever, whenever and ahead of whom a batch is made.

    (seed, epoch)                                 one key for every record, with its number
    (seed, epoch, place in the epoch, shard)      one key for every batch

The place is the number of records before the step, so that the batches of an epoch which was entered elastically, whose
steps count anew, have keys that no batch before had. Of an array over several processes all of them have to hold the
same key, so there the shard is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import mix64
from datarax_mp.order.epoch import Epoch

_WORD = (1 << 32) - 1


def batch_words(epoch: Epoch, step: int, *, apart: bool) -> NDArray[np.uint32]:
    """The words of a batch and of its epoch, uint32 ``(4,)``.

    Args:
        epoch: the epoch.
        step: the step.
        apart: whether each shard has arrays of its own.
    """
    of_epoch = mix64(mix64(epoch.order.seed) ^ (epoch.number + 1))
    of_batch = mix64(of_epoch ^ (epoch.place(step) + 1))
    if apart and epoch.order.shard_index:
        of_batch = mix64(of_batch ^ epoch.order.shard_index)
    return np.array([of_batch & _WORD, of_batch >> 32, of_epoch & _WORD, of_epoch >> 32], np.uint32)


def record_words(epoch: Epoch, step: int, missing: Sequence[int], size: int) -> NDArray[np.uint32]:
    """The record numbers of a batch's rows, uint32 ``(size, 2)``; padding has numbers that no record has.

    Args:
        epoch: the epoch.
        step: the step.
        missing: places in the step of records that were skipped.
        size: rows of the batch, padding included.
    """
    numbers = np.full(size, -1, "<i8")
    there = np.delete(epoch.records(step), list(missing))
    numbers[: len(there)] = there
    return numbers.view("<u4").reshape(size, 2)
