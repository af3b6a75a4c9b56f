"""Dividing a pipeline's stages into those of the workers and those of the device."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Set
from typing import Any

from datarax_mp.stages.host import Filter, HostStage, MapBatch, RandomMapElement, as_host_stage, stage_name
from datarax_mp.stages.pad import Pad, check_pads


def split_stages(stages: Iterable[Any]) -> tuple[tuple[HostStage, ...], tuple[Any, ...]]:
    """Divide stages into host stages and device stages, in order.

    Raises:
        TypeError: it is no list of stages, or something in it is no stage.
        ValueError: a host stage comes after a device stage, one for records after one that pads, one of these after
            one for batches, a filter after a random stage, or two pad the same field.
    """
    host: list[HostStage] = []
    device: list[Any] = []
    for place, stage in enumerate(_several(stages)):
        if _is_device_stage(stage):
            if not callable(fn := getattr(stage, "fn", stage)):
                raise TypeError(f"stages[{place}]: {type(stage).__name__} needs a callable, got {type(fn).__name__}")
            device.append(stage)
            continue
        stage = as_host_stage(stage, place)
        if device:
            raise ValueError(
                f"stages[{place}], {stage_name(stage)}, runs on the host but comes after {stage_name(device[-1])}, "
                "which runs on the device. Put all host stages first, or make it a DeviceStage"
            )
        if host and isinstance(host[-1], Pad) and not isinstance(stage, (Pad, MapBatch)):
            raise ValueError(
                f"stages[{place}], {stage_name(stage)}, takes single records but comes after {stage_name(host[-1])}, "
                "which makes a batch of them. Put it before, or make it a MapBatch"
            )
        if host and isinstance(host[-1], MapBatch) and not isinstance(stage, MapBatch):
            raise ValueError(
                f"stages[{place}], {stage_name(stage)}, takes single records but comes after {stage_name(host[-1])}, "
                "which takes batches. Put all stages for records first"
            )
        if isinstance(stage, Filter) and (random := [s for s in host if isinstance(s, RandomMapElement)]):
            raise ValueError(
                f"stages[{place}], {stage_name(stage)}, comes after the random stage {stage_name(random[0])}, but a "
                "record must pass or fail alike in every epoch. Put filters before random stages"
            )
        host.append(stage)
    check_pads([stage for stage in host if isinstance(stage, Pad)])
    return tuple(host), tuple(device)


def any_random(host: Iterable[HostStage], device: Iterable[Any]) -> bool:
    """Whether a stage draws random numbers from the pipeline's seed."""
    ours = sys.modules.get("datarax_mp.stages.device")
    return any(isinstance(stage, RandomMapElement) for stage in host) or (
        ours is not None and any(isinstance(stage, ours.RandomDeviceStage) for stage in device)
    )


def _several(stages: Any) -> Iterable[Any]:
    """The stages, where it is several in an order that were given."""
    alone = callable(stages) or hasattr(stages, "map") or hasattr(stages, "random_map") or _is_device_stage(stages)
    unordered = isinstance(stages, (str, bytes, Mapping, Set))
    if isinstance(stages, (list, tuple)) or (isinstance(stages, Iterable) and not alone and not unordered):
        return stages
    remedy = "leave it out for none" if stages is None else "put what runs first, or alone, into a list: stages=[...]"
    raise TypeError(f"stages must be a list of stages, got {stages!r} of type {type(stages).__name__}; {remedy}")


def _is_device_stage(stage: Any) -> bool:
    # Whoever made such an object has imported these modules; so there is no need to import JAX to ask.
    ours = sys.modules.get("datarax_mp.stages.device")
    flax = sys.modules.get("flax.nnx")
    return (ours is not None and isinstance(stage, (ours.DeviceStage, ours.RandomDeviceStage))) or (
        flax is not None and isinstance(stage, flax.Module)
    )
