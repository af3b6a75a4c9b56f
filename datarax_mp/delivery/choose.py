"""Which delivery a pipeline has: the one place where that is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datarax_mp.delivery.base import Delivery
from datarax_mp.delivery.batches import BatchDelivery
from datarax_mp.delivery.elements import ElementDelivery
from datarax_mp.delivery.place import Place
from datarax_mp.delivery.transfer import Output

if TYPE_CHECKING:
    from datarax_mp.stages.device import DeviceStages


def make_delivery(
    stages: DeviceStages | None,
    *,
    output: Output,
    device: Any,
    sharding: Any,
    single: bool,
    padded: bool,
    track_name: str | None,
) -> Delivery:
    """What makes of host batches what the user gets.

    Args:
        stages: the device stages as one function, or None.
        output: "jax", "numpy" or "torch".
        device: the target device, or None.
        sharding: how arrays are split, or None.
        single: whether single elements are wanted.
        padded: whether batches that are not full are filled up.
        track_name: the source's name if its metadata is to be tracked, else None.
    """
    place = Place(output, device, sharding, padded)
    if single:
        return ElementDelivery(stages, place)
    return BatchDelivery(stages, place, track_name)
