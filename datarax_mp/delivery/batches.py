"""Batches: arrays in their place, with a mask, metadata and device stages around them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from datarax_mp.core.spanning import row_sharding, spans_processes
from datarax_mp.core.spec import Layout
from datarax_mp.core.tensors import as_tensor
from datarax_mp.delivery.base import HandOver
from datarax_mp.delivery.description import batch_info, batch_metadata
from datarax_mp.delivery.draws import batch_words, record_words
from datarax_mp.delivery.global_arrays import global_array
from datarax_mp.delivery.per_field import of_rows
from datarax_mp.delivery.place import Move, Place
from datarax_mp.delivery.placement import steps_first
from datarax_mp.delivery.put import make_put
from datarax_mp.delivery.stacked import BoundStacks, stack_with_room
from datarax_mp.delivery.staged import apply, at_hand_over
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order import Order
from datarax_mp.order.epoch import Epoch

if TYPE_CHECKING:
    from datarax_mp.stages.device import DeviceStages
    from datarax_mp.stages.draws import Draws


class BatchDelivery:
    """Delivers Batches; see ``Delivery``.

    Args:
        stages: the device stages as one function, or None.
        place: where arrays go. Where short batches are padded, every batch carries a mask, so that all have one
            structure.
        track_name: the source's name if its metadata is to be tracked, else None.

    Attributes:
        stages: see above.
        track_name: see above.
        padded: whether short batches are padded.
        masked: whether every batch is given a mask.
        spanning: the sharding of rows, if it is over several processes.
        hand_over: device stages that wait until the batch is handed over (see ``at_hand_over``), or None.
    """

    def __init__(self, stages: DeviceStages | None, place: Place, track_name: str | None) -> None:
        from datarax_mp.core.element_batch import make_batch  # delayed: it imports JAX

        self.make_batch = make_batch
        self.stages, self.track_name, self.padded = stages, track_name, place.padded
        sharding = of_rows(place.sharding)
        self.spanning = sharding if spans_processes(sharding) else None
        self.hand_over: HandOver | None = None
        if stages is not None and (self.spanning is not None or stages.change):
            self.hand_over = at_hand_over(stages)
        # A mask that a Batch makes for itself is NumPy's or JAX's.
        self.masked = place.padded or place.output == "torch"
        self._place = place
        self._split = row_sharding(sharding) if hasattr(sharding, "spec") else None

    def check(self, layout: Layout, order: Order) -> None:
        """See ``Delivery``."""
        self._place.check(layout, order)

    def device(self) -> Any:
        """See ``Delivery``."""
        return self._place.device()

    def open(self, layout: Layout, epoch: Epoch, steps: int) -> BoundBatches:
        """See ``Delivery``."""
        return BoundBatches(self, epoch.shards, self._place.move(layout, epoch.shards, steps))

    def open_stacked(self, layout: Layout, epoch: Epoch, *, bare: bool) -> BoundStacks:
        """See ``Delivery``."""
        return BoundStacks(self, epoch.shards, self._place.stacked_transfer(layout, epoch.shards), bare=bare)

    def draws(self, stages: DeviceStages, batch: HostBatch, shards: int) -> Draws:
        """What random stages draw from for a batch."""
        from datarax_mp.stages.draws import Draws

        words = make_put(None)(self._words(batch))
        if not stages.per_record:
            return Draws(words, None)
        records = _records(batch)
        if self.spanning is not None or self._split is None:
            return Draws(words, self._placed(records, shards))
        return Draws(words, make_put(self._split)(records))

    def stacked_draws(self, stages: DeviceStages, batches: list[HostBatch], shards: int, room: int) -> Draws:
        """The same for several batches, in arrays with room for so many."""
        from datarax_mp.stages.draws import Draws

        words = make_put(None)(stack_with_room([self._words(batch) for batch in batches], room))
        if not stages.per_record:
            return Draws(words, None)
        records = stack_with_room([_records(batch) for batch in batches], room)
        if self.spanning is not None or self._split is None:
            return Draws(words, self._placed(records, shards, axis=1))
        return Draws(words, make_put(steps_first(self._split))(records))

    def _words(self, batch: HostBatch) -> np.ndarray:
        return batch_words(batch.epoch, batch.step, apart=self.spanning is None)

    def mask(self, rows: int, size: int, shards: int) -> Any:
        """Which of a batch's rows are there.

        Every batch has a mask of its own, full ones, too: whoever has it may write into it, or donate it.
        """
        return self._placed(np.arange(size) < rows, shards)

    def stacked_mask(self, rows: tuple[int, ...], size: int, shards: int) -> Any:
        """Which rows are there of several batches, ``(len(rows), size)``; see ``mask``."""
        return self._placed(np.arange(size) < np.array(rows)[:, None], shards, axis=1)

    def _placed(self, rows: np.ndarray, shards: int, axis: int = 0) -> Any:
        """An array with something for each row, along an axis of it, beside the batch's arrays."""
        if self._place.output == "numpy":
            return rows
        if self._place.output == "torch":
            return as_tensor(rows)
        if self.spanning is not None:
            split = row_sharding(self.spanning)
            return global_array(rows, steps_first(split) if axis else split, shards, axis)
        return make_put(None)(rows)


def _records(batch: HostBatch) -> np.ndarray:
    return record_words(batch.epoch, batch.step, [skip.row for skip in batch.skips], batch.size)


class BoundBatches:
    """Delivers an epoch's Batches.

    Args:
        delivery: what is the same in every epoch.
        shards: of how many shards arrays consist.
        move: moves batches.
    """

    def __init__(self, delivery: BatchDelivery, shards: int, move: Move) -> None:
        self._delivery, self._shards, self._move = delivery, shards, move
        self.hand_over: HandOver | None = delivery.hand_over

    def take(self, batch: HostBatch) -> Any:
        """Move the arrays to their place and make a Batch of them; if stages are to wait, with what they draw from."""
        delivery, size = self._delivery, batch.size
        data, draws = self._move(batch), None
        stages = delivery.stages
        if stages is not None:
            if stages.random:
                draws = delivery.draws(stages, batch, self._shards)
            if self.hand_over is None:
                data = apply(stages, data, draws)
        # Not the batch itself, whose arrays are to die with the caller's.
        metadata = partial(batch_metadata, batch.epoch, batch.step, batch.skips, size, batch.info, delivery.track_name)
        mask = delivery.mask(batch.rows, size, self._shards) if delivery.masked else None
        info = None if batch.info is None else partial(batch_info, batch.info, size)
        rows = size if delivery.spanning is None else size * self._shards
        made = delivery.make_batch(data, rows, metadata, mask, info)
        return made if self.hand_over is None else (made, draws)
