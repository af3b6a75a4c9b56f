"""How files that lie elsewhere are reached, and what of them is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datarax_mp.core.integers import integer
from datarax_mp.core.places import user_cache

CACHE_BYTES = 16 << 30


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a source of files reads URLs: ``ParquetSource("s3://bucket/train/*.parquet", storage=Storage(...))``.

    What was read of a file is kept in a cache folder, which any number of processes and runs share: a later epoch, or a
    later run, asks the server for nothing that is there. Files are told apart by URL, size and ETag (or hash, or time),
    so that one that was written anew is read anew; where a server tells none of these, every source reads anew.
    One that is written while it is being read is an error.

    Args:
        options: for fsspec's file system: ``{"anon": True}`` or ``{"endpoint_url": ...}`` for s3, say.
        cache_folder: where what was read is kept; None is ``datarax_mp/objects`` in the user's cache folder.
        cache_bytes: most bytes that it takes; what was used least recently makes room. A file that is larger is
            kept nevertheless, while it is the newest. One folder should be given one size.
        requests: how many are under way at a time in each process.
        retries: how often a request is repeated that fails, is cut short or is not answered; there are pauses of 0.1 s
            before the first time, and twice as long each time, up to 10 s. What will not get better (no such file, no
            permission) is not repeated.
        timeout: seconds until a request counts as not answered.

    Raises:
        TypeError: a number is none.
        ValueError: it is out of range.

    >>> Storage(cache_bytes=1 << 30, requests=16).retries
    5
    """

    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # there may be secrets among them
    cache_folder: str | os.PathLike[str] | None = None
    cache_bytes: int = CACHE_BYTES
    requests: int = 8
    retries: int = 5
    timeout: float = 60.0

    def __post_init__(self) -> None:
        integer("cache_bytes", self.cache_bytes, least=0)
        integer("requests", self.requests, least=1)
        integer("retries", self.retries, least=0)
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, (int, float)):
            raise TypeError(f"timeout must be a number of seconds, got {self.timeout!r}")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, got {self.timeout!r}")
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options must be a dict of what fsspec takes, got {self.options!r}")

    @property
    def folder(self) -> str:
        """The cache folder."""
        return user_cache("objects", self.cache_folder)
