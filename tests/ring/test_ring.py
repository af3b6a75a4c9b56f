from __future__ import annotations

import gc
import os

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from datarax_mp.ring import Ring, Segment


@pytest.fixture(params=[True, False], ids=["shared", "private"])
def ring(request: pytest.FixtureRequest) -> Ring:
    return Ring(3, 4096, shared=request.param)


def array_in(ring: Ring, slot: int) -> np.ndarray:
    return np.ndarray((1024,), np.float32, ring.lease(slot), 0)


def test_a_view_shows_what_is_written_to_the_slot(ring: Ring) -> None:
    slot = ring.acquire()
    assert slot is not None
    view = array_in(ring, slot)
    np.ndarray((1024,), np.float32, ring.memory, slot * ring.slot_bytes)[:] = 7
    assert view.tolist() == [7.0] * 1024


def test_slots_run_out_and_come_back_when_released(ring: Ring) -> None:
    slots = [ring.acquire() for _ in range(3)]
    assert sorted(slots) == [0, 1, 2]  # type: ignore[type-var]
    assert ring.acquire() is None
    ring.release(1)
    assert ring.acquire() == 1


def test_a_slot_is_free_when_the_last_view_of_it_dies(ring: Ring) -> None:
    slot = ring.acquire()
    assert slot is not None
    view = array_in(ring, slot)
    part = view.reshape(2, -1)[1, 3:]
    assert ring.leased == 1
    del view
    assert ring.leased == 1
    del part
    assert ring.leased == 0


def test_jax_aliases_the_slot_and_holds_its_lease(ring: Ring) -> None:
    slot = ring.acquire()
    assert slot is not None
    view = array_in(ring, slot)
    address = view.__array_interface__["data"][0]
    on_device = jax.device_put(view)
    assert on_device.unsafe_buffer_pointer() == address
    reshaped = np.asarray(on_device)
    del view, on_device
    assert ring.leased == 1
    del reshaped
    gc.collect()
    jnp.zeros(1).block_until_ready()  # JAX lets go of what it dropped when it is next called
    assert ring.leased == 0


def test_leased_memory_outlives_its_ring() -> None:
    ring = Ring(1, 4096, shared=True)
    slot = ring.acquire()
    assert slot == 0
    view = array_in(ring, 0)
    view[:] = 3
    ring.close()
    del ring
    gc.collect()
    assert view.sum() == 3 * 1024


def test_a_segment_leaves_no_name_and_gives_its_descriptor_back() -> None:
    names, descriptors = os.listdir("/dev/shm"), psutil.Process().num_fds()
    segment = Segment.create(1 << 20, "a test", "-")
    assert os.listdir("/dev/shm") == names
    memory = segment.map()
    memory[:3] = b"abc"
    segment.close()
    segment.close()
    assert memory[:3] == b"abc"
    del memory
    # CPython starts its resource tracker, with a pipe, at the first shared memory block of a process.
    assert psutil.Process().num_fds() <= descriptors + 1


def test_a_private_mapping_keeps_its_writes_to_itself() -> None:
    segment = Segment.create(4096, "a test", "-")
    shared = segment.map()
    shared[0] = 1
    private = Segment(os.dup(segment.fd), segment.size).map(private=True)
    private[0] = 2
    assert shared[0] == 1
