"""From arrays in host memory to what the user gets: a Batch, or single elements."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from datarax_mp.core.record import Infos, flatten, nest
from datarax_mp.core.spanning import row_sharding, spans_processes
from datarax_mp.core.strays import claim
from datarax_mp.delivery.draws import Draws, batch_words, record_words
from datarax_mp.delivery.hosts import global_array, stages_at_hand_over
from datarax_mp.delivery.put import make_put
from datarax_mp.order import Order
from datarax_mp.recipe.work import Skip

if TYPE_CHECKING:
    from datarax_mp.core.metadata import Metadata
    from datarax_mp.feed.host_batch import HostBatch
    from datarax_mp.pipeline.session import Deliver, HandOver, Work
    from datarax_mp.stages.device import DeviceStages


def make_delivery(
    stages: DeviceStages | None, *, single: bool, padded: bool, on_device: bool, sharding: Any, track_name: str | None
) -> tuple[Deliver, HandOver | None]:
    """What makes of a host batch what the user gets, and what is still to be done when the user gets it.

    Args:
        stages: the device stages as one function, or None.
        single: whether single elements are wanted.
        padded: whether short batches are padded.
        on_device: whether arrays are JAX arrays.
        sharding: how arrays are split, or None.
        track_name: the source's name if its metadata is to be tracked, else None.
    """
    if single:
        return ElementDelivery(stages), None
    later = stages_at_hand_over(stages) if stages is not None and spans_processes(sharding) else None
    deliver = BatchDelivery(
        stages,
        later=later is not None,
        padded=padded,
        on_device=on_device,
        sharding=sharding,
        track_name=track_name,
    )
    return deliver, later


class BatchDelivery:
    """Makes Batches.

    Args:
        stages: the device stages as one function, or None.
        later: whether they wait until the batch is handed over (see ``stages_at_hand_over``); then what is made is the
            batch and what they draw from.
        padded: whether short batches are padded; then every batch carries a mask, so that all have one structure.
        on_device: whether arrays are JAX arrays.
        sharding: how arrays are split, or None.
        track_name: the source's name if its metadata is to be tracked, else None.
    """

    def __init__(
        self,
        stages: DeviceStages | None,
        *,
        later: bool,
        padded: bool,
        on_device: bool,
        sharding: Any,
        track_name: str | None,
    ) -> None:
        from datarax_mp.core.element_batch import make_batch  # delayed: it imports JAX

        self._make_batch = make_batch
        self._stages, self._later, self._track_name = stages, later, track_name
        self._padded, self._on_device = padded, on_device
        self._spanning = sharding if spans_processes(sharding) else None
        self._split = row_sharding(sharding) if hasattr(sharding, "spec") else None
        self._all_valid: dict[int, Any] = {}  # by the number of rows

    def __call__(self, batch: HostBatch, work: Work, epoch: int) -> Any:
        """Move the arrays to their place and make a Batch of them."""
        data, size = work.move(batch), batch.size
        draws = None
        if self._stages is not None:
            if self._stages.random:
                draws = self._draws(self._stages, batch, work.order, epoch, size)
            if not self._later:
                data = _apply(self._stages, data, draws)
        # Not the batch itself, whose arrays are to die with the caller's.
        metadata = partial(
            batch_metadata, work.order, epoch, batch.step, batch.skips, size, batch.info, self._track_name
        )
        shards = work.order.shard_count
        mask = self._mask(batch.rows, size, shards) if self._padded else None
        info = None if batch.info is None else partial(batch_info, batch.info, size)
        made = self._make_batch(data, size if self._spanning is None else size * shards, metadata, mask, info)
        return (made, draws) if self._later else made

    def _draws(self, stages: DeviceStages, batch: HostBatch, order: Order, epoch: int, size: int) -> Draws:
        words = make_put(None)(batch_words(order, epoch, batch.step, apart=self._spanning is None))
        if not stages.per_record:
            return Draws(words, None)
        records = record_words(order, epoch, batch.step, [skip.row for skip in batch.skips], size)
        if self._spanning is not None or self._split is None:
            return Draws(words, self._placed(records, order.shard_count))
        return Draws(words, make_put(self._split)(records))

    def _mask(self, rows: int, size: int, shards: int) -> Any:
        if rows < size:
            return self._placed(np.arange(size) < rows, shards)
        if size not in self._all_valid:
            self._all_valid[size] = self._placed(np.ones(size, bool), shards)
        return self._all_valid[size]

    def _placed(self, rows: np.ndarray, shards: int) -> Any:
        """An array with something for each row, beside the batch's arrays."""
        if not self._on_device:
            return rows
        if self._spanning is not None:
            return global_array(rows, row_sharding(self._spanning), shards)
        import jax  # delayed: NumPy output never needs it

        return jax.device_put(rows)


def _apply(stages: DeviceStages, data: dict[str, Any], draws: Draws | None) -> dict[str, Any]:
    try:
        return stages(data, draws)
    except BaseException as error:
        claim(error)
        raise


class ElementDelivery:
    """Makes single elements, dicts without a batch axis, of batches that hold one record each."""

    def __init__(self, stages: DeviceStages | None) -> None:
        self._stages = stages

    def __call__(self, batch: HostBatch, work: Work, epoch: int) -> Any:
        """Move one element to its place; what is no array stays beside its arrays."""
        if self._stages is None:
            data = work.transfer([array[0, ...] for array in batch.arrays()])
        else:
            data = self._staged(self._stages, batch, work, epoch)
        if batch.info is not None:
            infos: Infos = pickle.loads(batch.info)
            data = nest({**flatten(data), **{path: values[0] for path, values in infos.items()}})
        return data

    @staticmethod
    def _staged(stages: DeviceStages, batch: HostBatch, work: Work, epoch: int) -> Any:
        import jax  # delayed: device stages have imported it already

        draws = None
        if stages.random:
            put = make_put(None)
            words = put(batch_words(work.order, epoch, batch.step, apart=True))
            draws = Draws(words, put(record_words(work.order, epoch, batch.step, (), 1)))
        return jax.tree.map(lambda array: array[0], _apply(stages, work.transfer(batch.arrays()), draws))


def batch_metadata(
    order: Order,
    epoch: int,
    step: int,
    skips: tuple[Skip, ...],
    size: int,
    info: bytes | None,
    track_name: str | None,
) -> list[Metadata]:
    """The metadata of a batch's elements without those that were skipped; padding has an index of None."""
    from datarax_mp.core.metadata import Metadata  # delayed: it imports JAX

    infos: Infos = pickle.loads(info) if info is not None else {}
    global_step, shard = order.global_step(epoch, step), order.offset * order.shard_count + order.shard_index
    metadata = []
    missing = [skip.row for skip in skips]
    for row, number in enumerate(np.delete(order.records(epoch, step), missing).tolist()):
        source_info = nest({path: values[row] for path, values in infos.items()}) if infos else {}
        key = None
        if track_name is not None:
            key = f"{track_name}:{number}"
            source_info = {"source": track_name, **source_info}
        metadata.append(Metadata(number, epoch, global_step, step, shard, None, source_info, key))
    padding = Metadata(None, epoch, global_step, step, shard)
    return metadata + [padding] * (size - len(metadata))


def batch_info(info: bytes, size: int) -> dict[str, Any]:
    """The fields of a batch that are no arrays, lists of ``size`` values; None at padding."""
    infos: Infos = pickle.loads(info)
    return nest({path: values + [None] * (size - len(values)) for path, values in infos.items()})
