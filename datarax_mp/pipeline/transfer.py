"""From host memory to where the user wants the arrays.

On the CPU backend a jax.Array looks into the slot and keeps its lease. On an accelerator it is copied asynchronously,
and the lease is held until the copy has ended. Small arrays are copied first: labels that somebody collects must not
hold the slots of the images beside them, nor one batch of a few kilobytes that of a whole run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from datarax_mp.core.record import field_name
from datarax_mp.core.spanning import spans_processes
from datarax_mp.core.spec import Layout
from datarax_mp.pipeline.hosts import global_array
from datarax_mp.pipeline.put import make_put
from datarax_mp.pipeline.together import Together

Transfer = Callable[[list[np.ndarray]], dict[str, Any]]
Output = Literal["jax", "numpy"]

_COPIED_BYTES = 32 * 1024


def make_transfer(layout: Layout, *, output: Output, device: Any, sharding: Any, shards: int = 1) -> Transfer:
    """The function that takes a batch's arrays, one per field of the layout, to their place and gives them names.

    Args:
        layout: what a batch holds.
        output: "jax" or "numpy"; NumPy arrays stay where they are, and JAX is not touched.
        device: a ``jax.Device``, or None for JAX's default.
        sharding: a ``jax.sharding.Sharding`` over which rows are split, or None.
        shards: how many shards an array consists of whose sharding spans several processes.
    """
    tree = layout.tree_maker()
    if output == "numpy":
        return tree
    if spans_processes(sharding):
        return lambda arrays: tree([global_array(array, sharding, shards) for array in arrays])
    put = make_put(device if sharding is None else sharding)

    def put_copy(array: np.ndarray) -> Any:
        return put(np.array(array))

    ways = [put_copy if small else put for small in _small(layout)]
    return lambda arrays: tree([way(array) for way, array in zip(ways, arrays, strict=True)])


def make_together(layout: Layout, steps: int, *, output: Output, device: Any, sharding: Any) -> Together | None:
    """What moves several batches of a run of so many steps in one call; None if that cannot be, or gains nothing."""
    if output == "numpy" or sharding is not None or any(spec.varies for spec in layout.fields):
        return None
    if not all(_small(layout)):
        return None
    together = Together(layout, device, steps)
    return together if together.size > 1 else None


def _small(layout: Layout) -> list[bool]:
    return [layout.batch_size * spec.row_bytes <= _COPIED_BYTES for spec in layout.fields]


def check_sharding(layout: Layout, sharding: Any, row_counts: Sequence[int], shards: int) -> None:
    """Make sure that batches can be split as the sharding says.

    Args:
        layout: what a batch holds.
        sharding: the sharding.
        row_counts: how many rows a batch of this process may have.
        shards: how many shards an array consists of whose sharding spans several processes.

    Raises:
        ValueError: a number of rows does not divide; the message names field, rows and devices. Or shards would have to
            know of each other how long a field is.
    """
    together = shards if spans_processes(sharding) else 1
    for spec in layout.fields:
        if spec.varies and together > 1:
            raise ValueError(
                f"field '{field_name(spec.path)}' may be of another length in every batch, and on another of {shards} "
                "hosts, which cannot make one array then: use Pad(..., to='fixed')"
            )
        for rows in row_counts:
            try:
                sharding.shard_shape((rows * together, *spec.shape))
            except ValueError as error:
                last = rows != layout.batch_size
                remedy = (
                    "use drop_last=True or pad_last=True" if last else "choose a batch_size that the devices divide"
                )
                each = f" on each of {shards} hosts" if together > 1 else ""
                raise ValueError(
                    f"field '{field_name(spec.path)}': {'the last batch' if last else 'a batch'} of {rows} rows{each} "
                    f"cannot be split over {len(sharding.device_set)} devices as {sharding} says: {remedy}"
                ) from error
