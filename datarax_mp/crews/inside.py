"""Doing a job in the process that asks for it: what a block is found by is the block."""

from __future__ import annotations

from datarax_mp.crews.base import Answer, Job, Shelving
from datarax_mp.crews.raised import Raised
from datarax_mp.recipe.executor import Executor
from datarax_mp.sources.block import Block


def carry_out(executor: Executor, job: Job) -> Answer:
    """Do a run, or read a block."""
    if isinstance(job, Shelving):
        return executor.read_block(job.reading, Raised)
    shelved = job.shelved

    def find(number: int) -> Block | None:
        found = shelved.get(number)
        return None if found is None else found.content

    return executor.perform(job.run, job.ring.memory, job.ring.slot_bytes, Raised, find)
