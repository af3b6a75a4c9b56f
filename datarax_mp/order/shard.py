"""Which of several hosts, or other independent readers of one source, this one is."""

from __future__ import annotations

import operator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """One of several pipelines, one per host, that share every epoch of a source.

    Each step is one global batch of ``batch_size * count`` records, and shard ``index`` gets the rows from
    ``index * batch_size`` on: all of them together see what one pipeline with that batch size would see (of a source
    that is read in blocks and shuffled, one with the same ``ShuffleWindow(blocks=, hosts=)``).

    Attributes:
        index: which one this is, from 0.
        count: how many there are.

    Raises:
        TypeError: not both are ints.
        ValueError: ``index`` is outside ``[0, count)``.

    >>> ShardOptions(index=1, count=4)
    ShardOptions(index=1, count=4)
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        for name in ("index", "count"):
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}")
            object.__setattr__(self, name, operator.index(value))  # a NumPy integer is no JSON value
        if not 0 <= self.index < self.count:
            raise ValueError(f"index must be in [0, count), got index={self.index} and count={self.count}")
