from __future__ import annotations

import errno
import gc
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from datarax_mp.ring import Ring, Segment, SharedMemoryError, limits, names
from tests.processes import comes_true


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

    def let_go() -> bool:
        gc.collect()
        jnp.zeros(1).block_until_ready()  # JAX lets go of what it dropped when it is next called, or a little later
        return ring.leased == 0

    assert comes_true(let_go)


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
    before, descriptors = names.of_this_process(), psutil.Process().num_fds()
    segment = Segment.create(1 << 20, "a test", "-")
    assert names.of_this_process() == before
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


def allocated(ring: Ring) -> int:
    """Bytes of a ring that have memory."""
    assert ring.segment is not None
    return os.fstat(ring.segment.fd).st_blocks * 512


@pytest.mark.needs("fallocate")
@pytest.mark.usefixtures("pages_as_asked")
def test_memory_is_allocated_as_slots_are_first_used_and_as_far_as_they_are() -> None:
    ring = Ring(3, 1 << 20, shared=True)
    assert allocated(ring) <= mmap.PAGESIZE
    slot = ring.acquire(10_000)
    assert slot is not None
    assert allocated(ring) <= 5 * mmap.PAGESIZE
    ring.release(slot)
    assert ring.acquire(9_000) == slot
    assert allocated(ring) <= 5 * mmap.PAGESIZE
    ring.release(slot)
    assert ring.acquire(20_000) == slot  # a second time: all of it
    assert 1 << 20 <= allocated(ring) <= (1 << 20) + mmap.PAGESIZE
    ring.acquire()
    assert 2 << 20 <= allocated(ring) <= (2 << 20) + mmap.PAGESIZE
    ring.reserve()
    assert allocated(ring) == 3 << 20


def test_memory_that_others_have_taken_since_is_an_error_when_a_slot_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(3, 1 << 20, shared=True)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(SharedMemoryError, match=r"3 slots of 1\.0 MB\): 3\.1 MB needed.*Lower batch_size"):
        ring.acquire()


@pytest.mark.needs("proc")
def test_a_slot_that_is_first_used_when_memory_has_become_short_is_an_error_and_no_kill(
    control_group: Callable[[int], Path], run_script: Callable[..., Any]
) -> None:
    group = control_group(150_000_000)
    told = run_script(
        f"with open({str(group / 'cgroup.procs')!r}, 'w') as file:\n    file.write('0')\n"
        "import time\n"
        "from datarax_mp.ring import Ring, SharedMemoryError\n"
        "ring = Ring(4, 25_000_000, shared=True)\n"
        "ring.acquire()\n"
        "taken = bytearray(b'1') * 70_000_000\n"
        "moment = time.monotonic()\n"
        "time.monotonic = lambda: moment + 60\n"
        "try:\n    ring.reserve()\nexcept SharedMemoryError as error:\n    print(error)\n"
    ).stdout
    assert "25.0 MB needed" in told
    assert "control group, 150.0 MB" in told


@pytest.mark.needs("fallocate")
def test_what_a_signal_handler_raises_while_memory_is_allocated_is_not_the_systems_refusal() -> None:
    ring = Ring(2, 1 << 26, shared=True)

    def too_late(*_: object) -> None:
        raise OSError(errno.EPERM, "not now")

    before = signal.signal(signal.SIGALRM, too_late)
    try:
        with pytest.raises(OSError, match="not now"):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            while True:
                ring.reserve()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_timer_that_rings_often_does_not_keep_a_slot_from_its_memory() -> None:
    ring = Ring(2, 1 << 26, shared=True)
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        ring.reserve()
        while not rung:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    ring.memory[-1] = 1


def test_a_slot_gets_its_memory_also_after_other_code_has_closed_the_descriptor() -> None:
    ring = Ring(2, 1 << 20, shared=True)
    assert ring.segment is not None
    os.close(ring.segment.fd)
    slot = ring.acquire()
    assert slot is not None
    ring.memory[slot * ring.slot_bytes] = 7


def test_a_second_ring_does_not_count_on_memory_that_the_first_will_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "room", lambda: limits.Room(100_000_000, "the machine", 200_000_000))
    first = Ring(3, 20_000_000, shared=True)
    with pytest.raises(SharedMemoryError, match="60.0 MB needed"):
        Ring(3, 20_000_000, shared=True)
    first.close()
    Ring(3, 20_000_000, shared=True).close()
