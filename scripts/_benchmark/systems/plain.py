"""What one writes without a loader."""

from __future__ import annotations

from collections.abc import Iterator

from _benchmark.sources import Arrays
from _benchmark.workloads import Work


class Plain:
    """The main process makes each batch when it is asked for."""

    def __init__(self, work: Work, workers: int) -> None:
        assert workers == 0
        self.work = work
        self.epochs = work.epochs()

    def __iter__(self) -> Iterator[Arrays]:
        return map(self.work.batch, next(self.epochs))

    def close(self) -> None:
        """There is nothing to free."""
