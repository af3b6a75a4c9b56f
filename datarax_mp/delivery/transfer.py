"""From host memory to where the user wants the arrays.

On the CPU backend a jax.Array looks into the slot and keeps its lease. On an accelerator it is copied asynchronously,
and the lease is held until the copy has ended. Small arrays are copied first: labels that somebody collects must not
hold the slots of the images beside them, nor one batch of a few kilobytes that of a whole run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from datarax_mp.core.spanning import spans_processes
from datarax_mp.core.spec import Layout
from datarax_mp.core.tensors import as_tensor
from datarax_mp.delivery.global_arrays import global_array
from datarax_mp.delivery.grouped import Grouping
from datarax_mp.delivery.per_field import of_field
from datarax_mp.delivery.placement import field_sharding
from datarax_mp.delivery.put import Put, make_put

Transfer = Callable[[list[np.ndarray]], dict[str, Any]]
Output = Literal["jax", "numpy", "torch"]

COPIED_BYTES = 32 * 1024


def holds_x64(output: Output) -> bool | None:
    """Whether JAX holds 64-bit types; None where arrays stay in host memory and every dtype with them."""
    if output != "jax":
        return None
    import jax  # delayed: other outputs never need it

    return bool(jax.config.jax_enable_x64)


def make_transfer(
    layout: Layout, *, output: Output, device: Any, sharding: Any, shards: int = 1, axis: int = 0
) -> Transfer:
    """The function that takes a batch's arrays, one per field of the layout, to their place and gives them names.

    Args:
        layout: what a batch holds.
        output: "jax", "numpy" or "torch"; NumPy arrays and tensors stay where they are, and JAX is not touched.
        device: a ``jax.Device``, or None for JAX's default.
        sharding: a ``jax.sharding.Sharding`` over which rows are split, ``FieldShardings``, or None.
        shards: how many shards an array consists of whose sharding spans several processes.
        axis: along which arrays have their rows: 1 where several batches come in one.
    """
    tree = layout.tree_maker()
    if output == "numpy":
        return tree
    if output == "torch":
        return _by_ways(tree, [as_tensor for _ in layout.fields])
    if sharding is None:
        places = [device for _ in layout.fields]
    else:
        places = [field_sharding(of_field(sharding, spec.path), axis + 1 + len(spec.shape)) for spec in layout.fields]
    if spans_processes(sharding):
        return lambda arrays: tree(
            [global_array(array, place, shards, axis) for array, place in zip(arrays, places, strict=True)]
        )
    copied = _small(layout) if axis == 0 else [False for _ in layout.fields]
    return _by_ways(tree, [_way(make_put(place), copy=small) for place, small in zip(places, copied, strict=True)])


def _by_ways(tree: Callable[[list[Any]], dict[str, Any]], ways: Sequence[Put]) -> Transfer:
    return lambda arrays: tree([way(array) for way, array in zip(ways, arrays, strict=True)])


def _way(put: Put, *, copy: bool) -> Put:
    def put_copy(array: np.ndarray) -> Any:
        return put(np.array(array))

    return put_copy if copy else put


def make_grouping(layout: Layout, steps: int, *, output: Output, device: Any, sharding: Any) -> Grouping | None:
    """What moves several batches of a run of so many steps in one call; None if that cannot be, or gains nothing."""
    if output != "jax" or sharding is not None or any(spec.varies for spec in layout.fields):
        return None
    if not all(_small(layout)):
        return None
    grouping = Grouping(layout, device, steps)
    return grouping if grouping.size > 1 else None


def _small(layout: Layout) -> list[bool]:
    return [layout.batch_size * spec.row_bytes <= COPIED_BYTES for spec in layout.fields]
