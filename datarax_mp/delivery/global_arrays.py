"""Arrays that span several JAX processes, and which rows of them each process reads.

    mesh (2 hosts x 2 devices)       rows of the global array      who reads them
    P("data") over all four          0 | 1 | 2 | 3                 host 0: 0 and 1      host 1: 2 and 3
    P("data"), replicated on hosts   0 | 1                         host 0: 0 and 1      host 1: the same

The sharding cuts the rows into *blocks*. Processes that hold the same blocks form a group, and a group is a shard: all
its members read the same records. So which shard a process is follows from the sharding alone, and a shard's rows go
from the slot to the devices of each member, block by block. Nothing here talks to another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from datarax_mp.delivery.per_field import all_of
from datarax_mp.delivery.put import Put, make_put
from datarax_mp.order import ShardOptions

if TYPE_CHECKING:
    pass

Blocks = frozenset[int]


def shard_of_sharding(sharding: Any) -> ShardOptions:
    """The shard that this process is, given a ``NamedSharding`` over devices of several processes, or several.

    Raises:
        TypeError: it is another kind of sharding.
        ValueError: this process has no device in it, the processes' rows overlap or are unequal, or fields differ in
            which rows a process holds.
    """
    shards = [(where, _shard_of_sharding(one)) for where, one in all_of(sharding)]
    (first, shard), *others = shards
    for where, other in others:
        if other != shard:
            raise ValueError(
                f"{where}this process holds the rows of {other}, and {first}of {shard}. A process reads the rows of "
                "one shard, so split the rows of all fields over the processes alike, and let none replicate them there"
            )
    return shard


def _shard_of_sharding(sharding: Any) -> ShardOptions:
    import jax  # delayed: whoever has a sharding has imported it

    if not isinstance(sharding, jax.sharding.NamedSharding):
        raise TypeError(f"a sharding over several processes must be a NamedSharding, got {type(sharding).__name__}")
    # As many rows as devices: whatever part of the mesh they are split over divides that.
    shape = (sharding.num_devices,) * max(1, len(sharding.spec))
    held: dict[int, set[int]] = {}
    for device, index in sharding.devices_indices_map(shape).items():
        held.setdefault(device.process_index, set()).add(index[0].start or 0)
    starts = sorted(set().union(*held.values()))
    blocks = {process: frozenset(map(starts.index, mine)) for process, mine in held.items()}
    return shard_of_process(blocks, jax.process_index())


def shard_of_process(blocks: Mapping[int, Blocks], process: int) -> ShardOptions:
    """The shard that a process is, given the numbers of the row blocks that each one holds.

    Raises:
        ValueError: ``process`` holds none, or two processes hold some in common and others not, or not equally many.

    >>> shard_of_process({0: frozenset({0, 1}), 1: frozenset({2, 3}), 2: frozenset({0, 1})}, 1)
    ShardOptions(index=1, count=2)
    """
    if process not in blocks:
        raise ValueError(f"process {process} has no device in the sharding, only {sorted(blocks)} have")
    groups = sorted(set(blocks.values()), key=min)
    disjoint = sum(map(len, groups)) == len(frozenset().union(*groups))
    if not disjoint or len(set(map(len, groups))) > 1:
        found = ", ".join(f"process {number}: {sorted(mine)}" for number, mine in sorted(blocks.items()))
        raise ValueError(
            "processes must hold either the same row blocks of a batch or different ones, and equally many, so that "
            f"each can read whole batches of its own; the sharding gives {found}"
        )
    return ShardOptions(groups.index(blocks[process]), len(groups))


def global_array(array: np.ndarray, sharding: Any, shards: int, axis: int = 0) -> Any:
    """The ``jax.Array`` of all shards' rows, of which this process has ``array``.

    Each device gets a view of its rows, so nothing is copied on the way there. A shard whose blocks are not neighbours
    in the mesh fills them in their order.

    Args:
        array: ``(rows, ...)``, the rows of this process's shard.
        sharding: the ``NamedSharding`` over several processes.
        shards: how many shards there are.
        axis: the axis of the rows, where it is not the first.

    Returns:
        ``(rows * shards, ...)``.
    """
    import jax  # delayed, as above

    shape = (*array.shape[:axis], array.shape[axis] * shards, *array.shape[axis + 1 :])
    parts = [put(array[index]) for put, index in _local_parts(sharding, shape, axis)]
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)


@lru_cache(maxsize=256)
def _local_parts(sharding: Any, shape: tuple[int, ...], axis: int) -> list[tuple[Put, tuple[slice, ...]]]:
    """What moves the parts of a global array that this process holds, and what they are of the process's own rows."""
    import jax  # delayed, as above

    parts = sharding.addressable_devices_indices_map(shape)
    rows = sharding.shard_shape(shape)[axis]
    starts = sorted({index[axis].start or 0 for index in parts.values()})
    found = []
    for device, index in parts.items():
        start = starts.index(index[axis].start or 0) * rows
        place = jax.sharding.SingleDeviceSharding(device, memory_kind=sharding.memory_kind)
        found.append((make_put(place), (*index[:axis], slice(start, start + rows), *index[axis + 1 :])))
    return found
