"""Host batches made by hand, and deliveries that are given them: no workers, no feed."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

from datarax_mp.core.record import flatten
from datarax_mp.core.spec import ALIGNMENT, Layout
from datarax_mp.delivery.base import Bound, Delivery
from datarax_mp.delivery.choose import make_delivery
from datarax_mp.feed.host_batch import HostBatch, MappedBatch
from datarax_mp.order import Order, Sequential
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Skip
from datarax_mp.stages.device import compile_stages


class HandMade:
    """The batches of an epoch over these columns, one behind the other in memory, as a worker leaves them in a slot.

    Args:
        columns: arrays ``(records, ...)`` by name; dicts may nest.
        batch_size: rows of a batch.
        padded: whether a short batch has as many rows as the others.
        number: the epoch's number.
        info: what is no array, lists with a value for each record, by name.

    Attributes:
        layout: what a batch holds.
        epoch: the epoch.
        memory: where they lie; nothing else holds it, so that whoever looks into it is seen to.
    """

    def __init__(
        self,
        columns: dict[str, Any],
        batch_size: int,
        *,
        padded: bool = False,
        number: int = 0,
        info: dict[str, list[Any]] | None = None,
    ) -> None:
        self._columns, self._padded, self._info = flatten(columns), padded, info
        arrays = {path: np.asarray(column)[0] for path, column in self._columns.items()}
        records = len(next(iter(self._columns.values())))
        self.epoch = Epoch(Order(Sequential(records), batch_size), number)
        self.layout = Layout.of_parts(arrays, (), number=0, batch_size=batch_size, x64=None)
        size = self.epoch.steps * self.layout.block_bytes + ALIGNMENT
        self.memory: Any = (ctypes.c_char * size)()
        self._first = -ctypes.addressof(self.memory) % ALIGNMENT
        for step in range(self.epoch.steps):
            numbers = self.epoch.records(step)
            rows = self.layout.rows(self.memory, self._start(step), len(numbers))
            for out, column in zip(rows, self._columns.values(), strict=True):
                out[:] = np.asarray(column)[numbers]

    def _start(self, step: int) -> int:
        return self._first + step * self.layout.block_bytes

    def batch(self, step: int, *, skips: tuple[Skip, ...] = (), alone: bool = False) -> HostBatch:
        """One of them. The rows of skipped records are the last ones, here."""
        epoch, last = self.epoch, self.epoch.steps - 1
        rows = epoch.rows(step) - len(skips)
        info = None
        if self._info is not None:
            numbers = epoch.records(step)[:rows].tolist()
            info = pickle.dumps(
                {(name,): [values[number] for number in numbers] for name, values in self._info.items()}
            )
        return MappedBatch(
            epoch,
            step,
            rows,
            epoch.batch_size if self._padded else rows,
            info,
            skips,
            1 if alone else max(last - step, 1),
            self.layout,
            self.memory,
            self._start(step),
            None,
        )

    def __iter__(self) -> Iterator[HostBatch]:
        return (self.batch(step) for step in range(self.epoch.steps))


def delivery(*stages: Any, **options: Any) -> Delivery:
    """What a pipeline with these device stages and options of ``make_delivery`` has."""
    defaults = {"output": "jax", "device": None, "sharding": None, "single": False, "padded": False, "track_name": None}
    return make_delivery(compile_stages(stages) if stages else None, **{**defaults, **options})


def opened(way: Delivery, made: HandMade) -> Bound:
    """The way of the batches that were made."""
    way.check(made.layout, made.epoch.order)
    return way.open(made.layout, made.epoch, made.epoch.steps)
