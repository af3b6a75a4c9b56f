"""jax-dataloader, its "jax" backend: batches are made in the main process when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from _benchmark.sources import Arrays, Columns
from _benchmark.workloads import Work


class JaxDataLoader:
    """Columns as its ArrayDataset, everything else as a dataset of one's own, which is asked for a batch at once."""

    def __init__(self, work: Work, workers: int) -> None:
        import jax_dataloader as jdl

        assert workers == 0

        class Records(jdl.Dataset):
            """A Work as one of its datasets."""

            def __len__(self) -> int:
                return len(work)

            def __getitem__(self, numbers: np.ndarray) -> Arrays:
                return work.batch(np.asarray(numbers))

        columns = work.source.columns if isinstance(work.source, Columns) else None
        self.names = None if columns is None else tuple(columns)
        self.loader: Any = jdl.DataLoader(
            Records() if columns is None else jdl.ArrayDataset(*columns.values(), asnumpy=True),
            backend="jax",
            batch_size=work.load.batch_size,
            shuffle=work.load.shuffle,
            drop_last=True,
        )

    def __iter__(self) -> Iterator[Arrays]:
        if self.names is None:
            return iter(self.loader)
        return (dict(zip(self.names, arrays, strict=True)) for arrays in self.loader)

    def close(self) -> None:
        """There is nothing to free."""
