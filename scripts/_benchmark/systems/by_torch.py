"""torch DataLoader: forked, persistent workers, ``prefetch_factor`` 2 (its default).

Both forms hand tensors to the main process in shared memory: a ``collate_fn`` that returns NumPy arrays would send
them through a pipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from _benchmark.sources import Arrays
from _benchmark.workloads import Work


class TorchLoader:
    """A DataLoader whose batches are seen as NumPy arrays, without a copy."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Arrays]:
        for batch in self.loader:
            yield {name: tensor.numpy() for name, tensor in batch.items()}
            del batch  # or it would be kept while the next one is waited for

    def close(self) -> None:
        """End the workers, which its iterator holds."""
        self.loader = None


def records(work: Work, workers: int, **options: Any) -> TorchLoader:
    """Record by record, collated by torch; ragged records by a ``collate_fn`` that pads."""
    from torch.utils.data import default_convert

    if work.load.pad is not None:
        options["collate_fn"] = lambda batch: default_convert(work.stack(batch))
    return _loader(work, workers, batch_size=work.load.batch_size, shuffle=work.load.shuffle, drop_last=True, **options)


def out_of_order(work: Work, workers: int) -> TorchLoader:
    """The same, but whichever batch is ready is the next."""
    return records(work, workers, in_order=False)


def batched(work: Work, workers: int) -> TorchLoader:
    """A sampler of batches: the dataset is asked for all records of a batch at once."""
    from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

    dataset: Any = Batched(work)
    order = RandomSampler(dataset) if work.load.shuffle else SequentialSampler(dataset)
    sampler = BatchSampler(order, work.load.batch_size, drop_last=True)
    return _loader(dataset, workers, sampler=sampler, batch_size=None)


class Batched:
    """A dataset whose items are batches."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __len__(self) -> int:
        return len(self.work)

    def __getitem__(self, numbers: Sequence[int]) -> Arrays:
        return self.work.batch(np.asarray(numbers))


def _loader(dataset: Any, workers: int, **options: Any) -> TorchLoader:
    from torch.utils.data import DataLoader

    return TorchLoader(
        DataLoader(
            dataset,
            num_workers=workers,
            multiprocessing_context="fork",
            persistent_workers=True,
            prefetch_factor=2,
            **options,
        )
    )
