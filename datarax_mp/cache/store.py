"""What keeps records for a process, whichever way."""

from __future__ import annotations

from typing import Protocol

from datarax_mp.cache.packing import Bytes


class Store(Protocol):
    """The records of one fingerprint, as this process reads and writes them; others do at the same time.

    One thread calls it.
    """

    def has(self, number: int) -> bool:
        """Whether a record seems to be there."""
        ...

    def get(self, number: int) -> Bytes | None:
        """A record's bytes, this caller's own; None if it is not there, or not whole."""
        ...

    def put(self, number: int, packed: Bytes) -> None:
        """Keep a record, if there is room. What stands against it is told to the log once, and nothing is raised."""
        ...
