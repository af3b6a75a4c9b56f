"""Settings of a MemorySource."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemorySourceConfig:
    """How a MemorySource serves its records.

    Attributes:
        shuffle: a new permutation every epoch; needs an ``rngs`` on the source or on the pipeline.
        shard_id: which shard to serve, in ``[0, num_workers)``. Shard ``k`` serves positions ``k::num_workers``.
        num_workers: the number of *shards* (datarax's name for it). It has nothing to do with worker processes; those
            are the pipeline's ``num_workers``.
        track_metadata: give every element a ``Metadata.key`` ("name:record") and name the source in its
            ``source_info``.
        cache_size: datarax's; every value has the same effect, for the records are in memory already.
        prefetch_size: datarax's; every value has the same effect, for it is the pipeline that works ahead, by its own
            ``prefetch_size``.

    Raises:
        ValueError: there are several shards and no ``shard_id`` in range, or a size is negative.

    >>> MemorySourceConfig(shard_id=1, num_workers=4).num_workers
    4
    """

    shuffle: bool = False
    shard_id: int | None = None
    num_workers: int = 1
    track_metadata: bool = False
    cache_size: int = 0
    prefetch_size: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.num_workers, int) or self.num_workers < 1:
            raise ValueError(
                f"num_workers, the number of shards, must be an int of at least 1, got {self.num_workers!r}"
            )
        if self.shard_id is None:
            if self.num_workers > 1:
                raise ValueError(
                    f"num_workers={self.num_workers} cuts the source into that many shards, so shard_id must say which "
                    "one to serve. (Worker processes are asked for with Pipeline(num_workers=...))"
                )
        elif not 0 <= self.shard_id < self.num_workers:
            raise ValueError(f"shard_id must be in [0, {self.num_workers}), got {self.shard_id}")
        for name, size in (("cache_size", self.cache_size), ("prefetch_size", self.prefetch_size)):
            if not isinstance(size, int) or size < 0:
                raise ValueError(f"{name} must be an int of at least 0, got {size!r}")
