"""What ``Pipeline(sampler=)`` takes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from datarax_mp.order.choice import Choice


class Sampler(ABC):
    """Says which records an epoch has, how often, and in which order.

    What takes the place of torch's:

    ========================================  ==================================================
    ``RandomSampler``, ``SequentialSampler``  ``Pipeline(shuffle=True)``, ``shuffle=False``
    ``WeightedRandomSampler``                 ``sampler=WeightedSampler(weights)``
    ``SubsetRandomSampler(indices)``          ``source=SubsetSource(data, indices), shuffle=True``
    ``BatchSampler``                          ``batch_size=``, ``drop_last=``
    ``DistributedSampler``                    ``shard=``, with ``drop_last=`` or ``pad_last=``
    any other                                 ``sampler=IndexSampler(list(sampler))``
    ========================================  ==================================================
    """

    @abstractmethod
    def over(self, length: int) -> Choice:
        """The choice among so many records.

        Raises:
            ValueError: it is about another number of records.
        """


def check_count(what: str, count: int, length: int) -> None:
    """There is one for each record.

    Raises:
        ValueError: there are more or fewer.
    """
    if count != length:
        raise ValueError(f"{what} must be as many as the source has records, {length}; found {count}")


_LOOKED_AT = 1024  # values of a table, by which another one is told


def fingerprint(*tables: Any) -> str:
    """A few letters that tell tables from others, by their lengths and some of their values."""
    found = hashlib.sha256()
    for table in tables:
        array = np.asarray(table)
        step = max(1, len(array) // _LOOKED_AT)
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array[::step]).tobytes() + np.ascontiguousarray(array[-1:]).tobytes())
    return found.hexdigest()[:16]
