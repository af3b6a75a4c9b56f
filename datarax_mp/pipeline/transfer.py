"""From host memory to where the user wants the arrays.

Two ways lead to a JAX device, and which is better depends on the size of an array alone (2 cores, CPU backend, jax
0.10.2, microseconds in the calling thread; ``scripts/measure_transfer.py`` measures it anew):

    bytes      jax.device_put    jitted identity
      2 kB            50 - 60            16
    260 kB            50 - 60            45
    786 kB            50 - 60       120 - 260
    9.6 MB            50 - 60      2400 - 2800

``device_put`` of 64-byte aligned memory costs the same for every size because on the CPU backend it copies nothing: the
jax.Array looks into the slot and keeps its lease. (On an accelerator it copies asynchronously, and holds the lease
until the copy has ended.) The identity copies; where the device is busy it does so when its turn comes, and JAX holds
the lease until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from datarax_mp.core.record import field_name
from datarax_mp.core.spanning import spans_processes
from datarax_mp.core.spec import Layout
from datarax_mp.pipeline.hosts import global_array
from datarax_mp.pipeline.together import MOST_BYTES, Together

Transfer = Callable[[list[np.ndarray]], dict[str, Any]]
Output = Literal["jax", "numpy"]

_ALIAS_BYTES = 256 * 1024


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
    import jax  # delayed: a script with NumPy output never needs it

    if spans_processes(sharding):
        return lambda arrays: tree([global_array(array, sharding, shards) for array in arrays])
    if sharding is not None:
        return lambda arrays: tree(jax.device_put(arrays, sharding))
    large = _aliased(layout)
    placement = _placement(device)
    identity = _identity(placement)
    if not large:
        return lambda arrays: tree(identity(*arrays))
    small = [place for place in range(len(layout.fields)) if place not in large]

    def transfer(arrays: list[np.ndarray]) -> dict[str, Any]:
        moved: list[Any] = [None] * len(arrays)
        for place in large:
            moved[place] = jax.device_put(arrays[place], placement)
        if small:
            for place, array in zip(small, identity(*[arrays[place] for place in small]), strict=True):
                moved[place] = array
        return tree(moved)

    return transfer


def make_together(layout: Layout, steps: int, *, output: Output, device: Any, sharding: Any) -> Together | None:
    """What moves several batches of a run of so many steps in one call; None if that cannot be, or gains nothing."""
    aliased = _aliased(layout)
    copied = [spec for place, spec in enumerate(layout.fields) if place not in aliased]
    if output == "numpy" or sharding is not None or any(spec.varies for spec in layout.fields):
        return None
    if layout.batch_size * sum(spec.row_bytes for spec in copied) > MOST_BYTES:
        return None
    together = Together(layout, _placement(device), aliased, steps)
    return together if together.size > 1 else None


def _aliased(layout: Layout) -> list[int]:
    """The places of the fields for which ``device_put`` is the better way."""
    # The identity compiles anew for every shape, which takes milliseconds: nothing for arrays whose shapes vary.
    return [
        place
        for place, spec in enumerate(layout.fields)
        if spec.varies or layout.batch_size * spec.row_bytes >= _ALIAS_BYTES
    ]


def _placement(device: Any) -> Any:
    import jax  # delayed, as above

    return None if device is None else jax.sharding.SingleDeviceSharding(device)


@lru_cache(maxsize=16)
def _identity(placement: Any) -> Callable[..., Any]:
    """One per place, not one per pipeline: compiling it takes longer than starting a worker."""
    import jax  # delayed, as above

    return jax.jit(lambda *arrays: arrays, out_shardings=placement)


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
