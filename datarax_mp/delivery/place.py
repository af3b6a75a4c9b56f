"""Where arrays go, and what has to be known of a layout to bring them there, worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from datarax_mp.core.spec import Layout
from datarax_mp.delivery.grouped import Grouping, Groups
from datarax_mp.delivery.per_field import all_of
from datarax_mp.delivery.placement import check_fields, steps_first
from datarax_mp.delivery.tensors import check_tensors
from datarax_mp.delivery.transfer import Output, Transfer, make_grouping, make_transfer
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order import Order

Move: TypeAlias = Callable[[HostBatch], dict[str, Any]]


class Place:
    """Where a pipeline's arrays go.

    Args:
        output: "jax", "numpy" or "torch".
        device: the target device, or None.
        sharding: how arrays are split, or None.
        padded: whether batches that are not full are filled up.

    Attributes:
        output: see above.
        sharding: see above.
        padded: see above.
    """

    def __init__(self, output: Output, device: Any, sharding: Any, padded: bool) -> None:
        self.output, self.sharding, self.padded = output, sharding, padded
        self._device = device
        self._known: tuple[Layout, Transfer, Grouping | None] | None = None

    def check(self, layout: Layout, order: Order) -> None:
        """See ``Delivery``."""
        if self.sharding is not None:
            check_fields(layout, self.sharding, order, padded=self.padded)
        if self.output == "torch":
            check_tensors(layout)

    def device(self) -> Any:
        """See ``Delivery``."""
        if self.output != "jax":
            return None
        import jax  # delayed: other outputs never need it

        if self._device is not None:
            return self._device
        if self.sharding is not None:
            _, sharding = all_of(self.sharding)[0]
            return min(sharding.addressable_devices, key=lambda device: device.id)
        default = jax.config.jax_default_device
        return default if isinstance(default, jax.Device) else jax.local_devices(backend=default)[0]

    def transfer(self, layout: Layout, shards: int) -> Transfer:
        """What moves a batch's arrays, one batch at a time."""
        return self._ways(layout, shards, steps=1)[0]

    def move(self, layout: Layout, shards: int, steps: int) -> Move:
        """What moves the batches of one epoch, in order, maybe several at a time."""
        transfer, grouping = self._ways(layout, shards, steps)
        return (lambda batch: transfer(batch.arrays())) if grouping is None else Groups(grouping, transfer)

    def stacked_transfer(self, layout: Layout, shards: int) -> Transfer:
        """What moves the arrays of several batches, ``(steps, rows, ...)``."""
        sharding = steps_first(self.sharding)
        return make_transfer(layout, output=self.output, device=self._device, sharding=sharding, shards=shards, axis=1)

    def _ways(self, layout: Layout, shards: int, steps: int) -> tuple[Transfer, Grouping | None]:
        known = self._known
        if known is None or known[0] is not layout:
            where: dict[str, Any] = {"output": self.output, "device": self._device, "sharding": self.sharding}
            grouping = make_grouping(layout, steps, **where) if steps > 1 else None
            known = self._known = layout, make_transfer(layout, shards=shards, **where), grouping
        return known[1:]
