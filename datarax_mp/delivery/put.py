"""NumPy arrays to their place on the devices, by the shortest way there is.

``jax.device_put`` works out in Python what it was given and how to trace it, and then calls one function of jaxlib's.
That function belongs to no public interface. So the first array of each shape and dtype goes both ways, and where the
function is missing, or gives anything but what ``device_put`` gives, ``device_put`` it is for good. 2 cores, CPU
backend, jax 0.10.2, microseconds in the calling thread, whatever the size (``scripts/measure_transfer.py``):

                          jax.device_put    this
    one device                   75 - 90       6
    rows over four devices           112      20

Both look into 64-byte aligned memory without a copy on the CPU backend: the jax.Array keeps the slot's lease. On an
accelerator they copy asynchronously, and hold the lease until the copy has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from datarax_mp.core.strays import is_chance

log = logging.getLogger("datarax_mp")

Put = Callable[[np.ndarray], Any]

_MOST_ROUTES = 1024  # shapes and dtypes for each place; further ones go by device_put


def make_put(place: Any) -> Put:
    """What moves an array; what it has learnt of shapes and dtypes serves all pipelines.

    Args:
        place: a ``jax.Device``, a ``jax.sharding.Sharding`` over devices of this process, or None for JAX's default
            device.
    """
    import jax  # delayed: a script with NumPy output never needs it

    # Backends that are cleared and made anew have other devices.
    return put_among(place, jax.local_devices()[0])


@lru_cache(maxsize=64)
def put_among(place: Any, _first_device: Any) -> Put:
    """``make_put`` for the backends that the first device is one of; what it has made is kept."""
    import jax  # delayed, as above

    public = partial(jax.device_put, device=place)
    refused = jax.errors.JaxRuntimeError  # a transfer guard, say, which lets explicit transfers pass
    routes: dict[tuple[tuple[int, ...], np.dtype], Put] = {}

    def learn(array: np.ndarray) -> Any:
        moved = public(array)
        if len(routes) >= _MOST_ROUTES or (place is None and jax.config.jax_default_device is not None):
            return moved
        try:
            route = _short_route(moved, public)
            same = moved.dtype == array.dtype and _alike(route(array), moved)
        except refused:
            return moved
        except Exception as error:
            if is_chance(lambda: _short_route(moved, public)(array)):
                raise
            same = False
            log.debug("arrays are moved by jax.device_put: %r", error)
        routes[array.shape, array.dtype] = route if same else public
        return moved

    def put(array: np.ndarray) -> Any:
        try:
            return routes.get((array.shape, array.dtype), learn)(array)
        except refused:
            return public(array)

    return put


def _short_route(like: Any, public: Put) -> Put:
    """Moves arrays of the same shape and dtype to where ``like`` is."""
    from jax._src import config
    from jax._src.lib import xla_client

    move, aval, sharding, committed = xla_client.batched_device_put, like.aval, like.sharding, like.committed
    parts = sharding.addressable_devices_indices_map(like.shape)
    devices, default = list(parts), config.default_device
    # Both move with enable_x64: a layout's 64-bit types are meant, whatever is in force where the batch is asked for.

    def spread(array: np.ndarray) -> Any:
        return move(aval, sharding, [array[part] for part in parts.values()], devices, committed, enable_x64=True)

    def whole(array: np.ndarray) -> Any:
        if not committed and default.value is not None:  # set for a moment, by a context manager
            return public(array)
        return move(aval, sharding, [array], devices, committed, enable_x64=True)

    return whole if len(devices) == 1 else spread


def _alike(one: Any, other: Any) -> bool:
    """Whether two jax.Arrays of the same values cannot be told apart."""
    about = [(type(array), array.aval, array.sharding, array.committed) for array in (one, other)]
    starts = [np.asarray(array).ravel()[:64].tobytes() for array in (one, other)]
    return about[0] == about[1] and starts[0] == starts[1]
