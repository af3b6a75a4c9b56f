"""Words for what a worker was at: which record of which step, and in whose code."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from datarax_mp.crews.base import Job, Shelving
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import WHOLE_BATCH, Phase, Sighting
from datarax_mp.sources.blocks import BlockSource

_LISTED = 8  # record numbers that a message lists before it says how many more there are


def whereabouts(sighting: Sighting, recipe: Recipe) -> str:
    """For instance ``while stage MapElement(decode) worked on record 17 (step 4 of epoch 0)``."""
    if sighting.phase == Phase.IDLE:
        return "while it was idle"
    if sighting.phase == Phase.LOADING:
        return "while it loaded the source and the stages"
    if sighting.phase == Phase.BLOCK:
        assert isinstance(recipe.source, BlockSource)
        return f"while it read {recipe.source.block_name(sighting.record)} for epoch {sighting.epoch}"
    step = f"(step {sighting.step} of epoch {sighting.epoch})"
    records = _records(sighting, recipe)
    if sighting.phase == Phase.STAGE:
        return f"while stage {recipe.stages[sighting.stage].name} worked on {records} {step}"
    did = {Phase.READING: "read", Phase.WRITING: "wrote", Phase.ANSWERING: "sent its answer for"}[sighting.phase]
    return f"while it {did} {records} {step}"


def culprit(sighting: Sighting, lost: Sequence[Job]) -> Hashable:
    """What to blame for a death, or None: a record, a batch whose records are not worked on singly, or the loading.

    Args:
        sighting: what the worker was at.
        lost: what it had in hand, and nobody has received.
    """
    if sighting.phase == Phase.IDLE:
        return None
    if sighting.phase == Phase.LOADING:
        return Phase.LOADING
    if sighting.phase == Phase.BLOCK:
        return Phase.BLOCK, sighting.epoch, sighting.record
    if sighting.phase == Phase.ANSWERING and not any(_contains(job, sighting) for job in lost):
        return None  # the answer has arrived, and the worker has not yet said what comes next
    return sighting.epoch, sighting.step, sighting.record


def _contains(job: Job, sighting: Sighting) -> bool:
    """Whether the step that a worker was at is one of a job's."""
    if isinstance(job, Shelving):
        return False
    run = job.run
    return run.epoch == sighting.epoch and run.step <= sighting.step < run.step + run.steps


def _records(sighting: Sighting, recipe: Recipe) -> str:
    if sighting.record != WHOLE_BATCH:
        return f"record {recipe.order.named(np.array([sighting.record]))[0]}"
    numbers = recipe.order.named(recipe.order.records(sighting.epoch, sighting.step))
    more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
    return f"records {', '.join(map(str, numbers[:_LISTED]))}{more}"
