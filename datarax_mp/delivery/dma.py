"""Memory that an accelerator reads by itself.

What is copied from ordinary (pageable) memory goes by way of a buffer of the runtime's, which the CPU fills. Memory
that is registered with the client, the ring's, is read by the device itself. That is two functions of jaxlib's that
belong to no public interface, ``client.dma_map(address, bytes)`` and ``client.dma_unmap(address)``. So they are tried
once for each client: where they are missing or refuse, or what is copied from registered memory does not arrive as it
was, everything goes the ordinary way. (The CPU backend looks into the memory without a copy, and is not asked.)

The memory is unregistered before it is unmapped: it dies with the last array that looks into it, and its class then
calls ``dma_unmap``, which is C code, so that no Ctrl-C can be lost there.

Measured on no accelerator yet (``scripts/measure_device.py`` is what to run there).
"""

from __future__ import annotations

import logging
import mmap
from functools import partial
from typing import Any

import numpy as np

from datarax_mp.core.undisturbed import undisturbed

log = logging.getLogger("datarax_mp")

_refusing: dict[int, Any] = {}  # clients, by id; they live as long as the process


def dma_client(device: Any) -> Any:
    """What to register memory with that arrays go from to a device; None where nothing is to be registered."""
    if device.platform == "cpu" or id(device.client) in _refusing:
        return None
    return device.client


def memory_class() -> type[mmap.mmap]:
    """A class for one piece of memory, which is told what to do at its end."""
    return type("Registered", (mmap.mmap,), {})


def register(memory: mmap.mmap, client: Any, device: Any) -> bool:
    """Register memory in which there is nothing yet, of a class of ``memory_class``.

    Args:
        memory: the memory; its first bytes are written to.
        client: see ``dma_client``.
        device: one of the client's, to try it.

    Returns:
        Whether that was done.
    """
    outcome = undisturbed(lambda: _register(memory, client, device))
    if isinstance(outcome, BaseException):
        _refusing[id(client)] = client
        log.info("memory is not registered with %s, and is copied by the CPU: %s", device, outcome)
    return outcome is None


def _register(memory: mmap.mmap, client: Any, device: Any) -> None:
    view = np.frombuffer(memory, np.uint8)
    address = view.__array_interface__["data"][0]
    client.dma_map(address, len(memory))
    # Static, since a partial on a class becomes a method in Python 3.14, and 3.13 warns of it.
    type(memory).__del__ = staticmethod(partial(client.dma_unmap, address))  # type: ignore[attr-defined]
    tried = view[: mmap.PAGESIZE]
    tried[:] = np.arange(len(tried)) % 251
    if not np.array_equal(_there_and_back(tried, device), tried):
        raise RuntimeError("what was copied from registered memory is not what was there")


def _there_and_back(array: np.ndarray, device: Any) -> np.ndarray:
    import jax  # delayed: whoever has a device has imported it

    return np.asarray(jax.device_put(array, device))
