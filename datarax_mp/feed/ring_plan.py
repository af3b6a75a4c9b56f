"""How many slots a ring has, and how many batches fit into one."""

from __future__ import annotations

import logging
import mmap
from dataclasses import dataclass

from datarax_mp.core.spec import align
from datarax_mp.ring.segment import megabytes

log = logging.getLogger("datarax_mp")

_MOST_STEPS = 64
_RUN_BYTES = 13 << 19  # smaller batches share a slot, and with it a message: eight of 0.8 MB, 57 MB in nine slots
_RING_BYTES = 1 << 27  # runs are shorter where the ring would be larger: the kernel clears it before the first batch
CHUNK_BYTES = 1 << 22  # of steps that come in one array, where their number is ours to choose
_SPARE_SLOTS = 3  # the caller's batch, the one before (still bound to a name), and one that JAX lets go of late
_MOST_SLOTS_PER_WORKER = 8  # beyond that no straggler lasts so long that the others run out of slots

AUTO_BUDGET = 1 << 29  # for as many workers as there are cores, most of which may never be started


@dataclass(frozen=True, slots=True)
class RingPlan:
    """The shape of a ring.

    Attributes:
        slots: how many slots.
        steps: how many batches fit into one.
        lendable: how many slots may be with the caller at one time.
    """

    slots: int
    steps: int
    lendable: int


def plan_ring(
    block_bytes: int,
    *,
    workers: int,
    prefetch_size: int,
    run_steps: int | None,
    budget: int | None,
    strict: bool,
    together: int = 1,
) -> RingPlan:
    """Plan a ring: two slots for each worker, and enough beside them for what the caller holds.

    Args:
        block_bytes: bytes of a batch.
        workers: worker processes, 0 for none.
        prefetch_size: batches that stand ready on the device.
        run_steps: how many steps a worker does at a time, or None.
        budget: bytes that the ring may take, or None for what is usual.
        strict: whether the caller has set the budget: then all of it is used as far as it helps, and one that is too
            small is an error.
        together: steps that come in one array. A slot has room for them, unless the budget is too small for that, and
            the batches in hand are as many times more.

    Raises:
        ValueError: the budget does not even hold what the caller has in hand and one batch to work on.

    >>> plan_ring(9_633_792, workers=2, prefetch_size=2, run_steps=None, budget=None, strict=False)
    RingPlan(slots=9, steps=1, lendable=5)
    """
    workers = max(workers, 1)
    held = prefetch_size + _SPARE_SLOTS
    usual = 2 * workers + held
    longest = min(_MOST_STEPS, _RUN_BYTES // block_bytes, _RING_BYTES // (usual * block_bytes))
    steps = run_steps or max(1, longest // together) * together
    if budget is None:
        return RingPlan(usual, steps, held)
    steps = max(1, min(steps, budget // (usual * block_bytes)))
    if steps > together:
        steps -= steps % together
    slot_bytes = align(steps * block_bytes, mmap.PAGESIZE)
    slots = budget // slot_bytes
    if slots < held + 1:
        if strict:
            raise ValueError(
                f"memory_budget={budget} ({megabytes(budget)}) holds {slots} batches of {megabytes(slot_bytes)}, and "
                f"{held + 1} are needed: {held} for you and prefetch_size={prefetch_size}, and one to work on. "
                f"Set memory_budget to {(held + 1) * slot_bytes} or more, or lower batch_size or prefetch_size"
            )
        slots = held + 1
    slots = min(slots, _MOST_SLOTS_PER_WORKER * workers + held if strict else usual)
    if strict:
        log.info("memory_budget: a ring of %d slots of %s", slots, megabytes(slot_bytes))
    return RingPlan(slots, steps, max(held, slots - 2 * workers) if slots > usual else held)
