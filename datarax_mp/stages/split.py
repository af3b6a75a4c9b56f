"""Dividing a pipeline's stages into those of the workers and those of the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from datarax_mp.stages.base import Rank, Stage
from datarax_mp.stages.kinds import as_stage, is_module
from datarax_mp.stages.pad import Pad, check_pads

_FALLEN = {
    Rank.PAD: "takes single records but comes after {before}, which makes a batch of them. Put it before, or make it a "
    "MapBatch",
    Rank.BATCH: "takes single records but comes after {before}, which takes batches. Put all stages for records first",
    Rank.DEVICE: "runs on the host but comes after {before}, which runs on the device. Put all host stages first, or "
    "make it a DeviceStage",
}


def split_stages(stages: Sequence[Any]) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """Divide stages into host stages and device stages, in order.

    Raises:
        TypeError: something in the list is no stage.
        ValueError: a host stage comes after a device stage, one for records after one that pads, one of these after
            one for batches, a Filter or FlatMap after a random stage, or two pad the same field.
    """
    found: list[Stage] = []
    for place, given in enumerate(stages):
        stage = as_stage(given, place)
        if found and stage.rank < found[-1].rank:
            why = _FALLEN[found[-1].rank].format(before=found[-1].name)
            raise ValueError(f"stages[{place}], {stage.name}, {why}")
        if (stage.decides or stage.expands) and (random := [before for before in found if before.random]):
            raise ValueError(
                f"stages[{place}], {stage.name}, comes after the random stage {random[0].name}, but a "
                "record must pass or fail, and give as many others, alike in every epoch. Put filters and FlatMap "
                "before random stages"
            )
        found.append(stage)
    check_pads([stage for stage in found if isinstance(stage, Pad)])
    host = tuple(stage for stage in found if stage.rank < Rank.DEVICE)
    return host, tuple(found[len(host) :])


def several_stages(stages: Any) -> tuple[Any, ...]:
    """The stages, as they were given.

    Raises:
        TypeError: it is not several in an order.
    """
    alone = callable(stages) or hasattr(stages, "map") or hasattr(stages, "random_map")
    alone = alone or isinstance(stages, Stage) or is_module(stages)
    unordered = isinstance(stages, (str, bytes, Mapping, Set))
    if isinstance(stages, (list, tuple)) or (isinstance(stages, Iterable) and not alone and not unordered):
        return tuple(stages)
    remedy = "leave it out for none" if stages is None else "put what runs first, or alone, into a list: stages=[...]"
    raise TypeError(f"stages must be a list of stages, got {stages!r} of type {type(stages).__name__}; {remedy}")
