"""Single elements, dicts without a batch axis: ``enforce_batch=False``."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from datarax_mp.core.record import Infos, flatten, nest
from datarax_mp.core.spec import Layout
from datarax_mp.delivery.base import Delivery, HandOver
from datarax_mp.delivery.draws import batch_words, record_words
from datarax_mp.delivery.place import Place
from datarax_mp.delivery.put import make_put
from datarax_mp.delivery.staged import apply
from datarax_mp.delivery.transfer import Transfer
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order import Order
from datarax_mp.order.epoch import Epoch

if TYPE_CHECKING:
    from datarax_mp.stages.device import DeviceStages
    from datarax_mp.stages.draws import Draws


class ElementDelivery(Delivery):
    """Delivers the elements of batches that hold one record each; see ``Delivery``.

    Args:
        stages: the device stages as one function, or None.
        place: where arrays go.
    """

    def __init__(self, stages: DeviceStages | None, place: Place) -> None:
        self._stages, self._place = stages, place

    def check(self, layout: Layout, order: Order) -> None:
        """See ``Delivery``."""
        self._place.check(layout, order)

    def device(self) -> Any:
        """See ``Delivery``."""
        return self._place.device()

    def open(self, layout: Layout, epoch: Epoch, steps: int) -> BoundElements:
        """See ``Delivery``."""
        return BoundElements(self._stages, self._place.transfer(layout, epoch.shards))


class BoundElements:
    """Delivers an epoch's elements.

    Args:
        stages: the device stages as one function, or None.
        transfer: what moves arrays.
    """

    def __init__(self, stages: DeviceStages | None, transfer: Transfer) -> None:
        self._stages, self._transfer = stages, transfer
        self.hand_over: HandOver | None = self._finish if stages is not None and stages.change else None

    def take(self, batch: HostBatch) -> Any:
        """Move one element to its place; what is no array stays beside its arrays."""
        stages = self._stages
        if stages is None:
            return _with_info(self._transfer([array[0, ...] for array in batch.arrays()]), batch.info)
        waiting = self._transfer(batch.arrays()), self._draws(batch) if stages.random else None, batch.info
        return waiting if self.hand_over is not None else self._finish(waiting)

    def _draws(self, batch: HostBatch) -> Draws:
        from datarax_mp.stages.draws import Draws

        put = make_put(None)
        words = put(batch_words(batch.epoch, batch.step, apart=True))
        return Draws(words, put(record_words(batch.epoch, batch.step, (), 1)))

    def _finish(self, waiting: tuple[Any, Draws | None, bytes | None]) -> dict[str, Any]:
        import jax  # delayed: device stages have imported it already

        data, draws, info = waiting
        assert self._stages is not None
        return _with_info(jax.tree.map(lambda array: array[0], apply(self._stages, data, draws)), info)


def _with_info(data: dict[str, Any], info: bytes | None) -> dict[str, Any]:
    if info is None:
        return data
    infos: Infos = pickle.loads(info)
    return nest({**flatten(data), **{path: values[0] for path, values in infos.items()}})
